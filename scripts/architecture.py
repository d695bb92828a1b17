"""Write the list of modules in `docs/ARCHITECTURE.md` from the first lines of their docstrings.

python -m scripts.architecture
"""

import ast
from pathlib import Path

PAGE = Path("docs/ARCHITECTURE.md")
START, END = "<!-- modules: made by `make docs` -->\n", "<!-- end of modules -->\n"
# In the order in which a clip passes them.
WINGS = ("core", "clips", "sources", "features", "inputs", "scoring", "networks", "tagger", "report", "app")


def first_line(module: Path) -> str:
    """First line of a module's docstring, without the full stop."""
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    if not docstring:
        raise ValueError(f"{module} has no docstring")
    return docstring.splitlines()[0].rstrip(".")


def module_list(root: Path) -> str:
    """A table a wing: its modules and what each does."""
    parts = []
    for wing in WINGS:
        files = sorted(path for path in (root / "fsat" / wing).glob("*.py") if path.stem != "__init__")
        rows = [f"| [`{path.stem}`](../fsat/{wing}/{path.name}) | {first_line(path)} |" for path in files]
        parts.append("\n".join([f"### `fsat/{wing}/`\n", "| module | what it does |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def with_modules(page: str, root: Path) -> str:
    """The page with its list of modules made anew."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{module_list(root)}\n{END}{after}"


def main() -> None:
    """Write the page."""
    PAGE.write_text(with_modules(PAGE.read_text(encoding="utf-8"), Path()), encoding="utf-8")


if __name__ == "__main__":
    main()
