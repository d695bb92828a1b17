"""What the stages really use, read from the code: imports and parameters, to be held against `dvc.yaml`.

python -m scripts.graph      write the code dependencies of every stage into dvc.yaml and sources/dvc.yaml
"""

import ast
import re
from collections.abc import Iterable
from pathlib import Path

ROOMS = ("fsat", "stages")


def imported_modules(file: Path) -> set[str]:
    """Dotted names of the project's modules that a file imports, at the top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.split(".")[0] in ROOMS and _file(name, file) is not None}


def project_root(file: Path) -> Path:
    """The folder that holds `fsat` and `stages`, from a file in one of them."""
    return next(folder.parent for folder in file.resolve().parents if folder.name in ROOMS)


def _file(module: str, beside: Path) -> Path | None:
    """File of a module of the project, or None (a function, or the package itself, which holds only a docstring)."""
    root = project_root(beside)
    path = root.joinpath(*module.split(".")).with_suffix(".py")
    return path if path.is_file() else None


def import_closure(script: Path) -> set[str]:
    """Files, relative to the project's root, that a stage script reaches by imports; the script itself included."""
    root = project_root(script)
    seen: set[Path] = set()
    waiting = [script.resolve()]
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        waiting += [path for name in imported_modules(file) if (path := _file(name, file)) is not None]
    return {file.relative_to(root).as_posix() for file in seen}


def requested_parameters(script: Path) -> set[str]:
    """The keys of all `params.read(...)` calls of a script. A key that is not a plain string raises TypeError."""
    keys: set[str] = set()
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "params.read":
            for argument in node.args:
                if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                    raise TypeError(f"{script}: params.read takes plain strings, so that the graph can be checked")
                keys.add(argument.value)
    return keys


def used_parameters(script: Path) -> set[str]:
    """Dotted attribute chains on the name `p`, the result of `params.read`: what the script really uses."""
    chains: set[str] = set()
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if text.startswith("p."):
                chains.add(text[2:])
    return chains


# Where the name one imports is not the name one installs.
_DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow"}


def imported_libraries(files: Iterable[Path]) -> set[str]:
    """Names, as in requirements.txt, of the packages from elsewhere that the files import."""
    names: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return {_DISTRIBUTIONS.get(name, name) for name in names if name not in ROOMS}


# Writing -------------------------------------------------------------------------------------------------------------

_CODE_LINE = re.compile(r"^ +- (?:stages|fsat)/.*\.py\n", flags=re.MULTILINE)
_STAGE = re.compile(r"^  [\w-]+:\n(?:(?:    .*)?\n)+", flags=re.MULTILINE)


def with_code_dependencies(graph: str, root: Path) -> str:
    """Text of a dvc.yaml in which every stage names the modules that its script reaches by imports."""

    def mended(stage: re.Match[str]) -> str:
        command = re.search(r"cmd: python -m ([\w.]+)", stage[0])
        if command is None:
            return stage[0]
        closure = import_closure(root / (command[1].replace(".", "/") + ".py"))
        # The script first, then the modules.
        lines = "".join(
            f"      - {name}\n" for name in sorted(closure, key=lambda name: (name.startswith("fsat"), name))
        )
        first = _CODE_LINE.search(stage[0])
        at = first.start() if first else stage[0].index("    deps:\n") + len("    deps:\n")
        return stage[0][:at] + lines + _CODE_LINE.sub("", stage[0][at:])

    return _STAGE.sub(mended, graph)


def main() -> None:
    """Write the code dependencies of dvc.yaml and sources/dvc.yaml anew."""
    for name in ("dvc.yaml", "sources/dvc.yaml"):
        path = Path(name)
        path.write_text(with_code_dependencies(path.read_text(encoding="utf-8"), Path()), encoding="utf-8")


if __name__ == "__main__":
    main()
