"""What each stage depends on, read from its code: modules, parameters and libraries. `dvc.yaml` is written from it.

    python -m scripts.graph      write these parts of dvc.yaml and sources/dvc.yaml; all others are written by hand

A stage script says ``p = params.read()`` and uses ``p.mel.n_fft``. The stage depends on the longest part of such a
chain that is a parameter: a leaf, or a section that is used as a whole.
"""

import ast
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from fsat.core import files, params

PACKAGES = ("fsat", "stages")
# The folder that all stages use is one dependency. An entry for each of its modules would make `dvc.lock`, which DVC
# writes after every stage in about a second, a third longer.
CORE = "fsat/core"


def imported(file: Path) -> set[str]:
    """Dotted names that a file imports, at the top or inside a function: modules, and what it takes from them."""
    names: set[str] = set()
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def imported_modules(file: Path) -> set[str]:
    """Those of them that are modules of the project."""
    return {name for name in imported(file) if name.split(".")[0] in PACKAGES and _file(name, file) is not None}


def import_closure(script: Path) -> set[str]:
    """Files, relative to the project's root, that a stage script reaches by imports; the script itself included."""
    root = _root(script)
    seen, waiting = set[Path](), {script.resolve()}
    while waiting:
        seen |= waiting
        waiting = {path for file in waiting for name in imported_modules(file) if (path := _file(name, file))} - seen
    return {file.relative_to(root).as_posix() for file in seen}


def _tree(file: Path) -> ast.Module:
    return _parsed(file.read_text(encoding="utf-8"))


# One module is read for many stages.
_parsed = cache(ast.parse)


def _root(file: Path) -> Path:
    """The folder that holds `fsat` and `stages`, from a file in one of them."""
    return next(folder.parent for folder in file.resolve().parents if folder.name in PACKAGES)


def _file(module: str, beside: Path) -> Path | None:
    """File of a module of the project, or None (a function, or the package itself, which holds only a docstring)."""
    path = _root(beside).joinpath(*module.split(".")).with_suffix(".py")
    return path if path.is_file() else None


# Parameters ----------------------------------------------------------------------------------------------------------

_READ = "p = params.read()"


def used_parameters(script: Path) -> list[str]:
    """Keys of the parameters that a stage uses, in the order of the schema; none within another one.

    `TypeError` names file and line if parameters are read or used in a way that this function does not follow.
    """
    tree, known = _tree(script), list(params.known_keys())
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    reads = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and ast.unparse(node) == _READ]
    allowed = {child for node in reads for child in ast.walk(node)}
    keys: set[str] = set()
    for node in ast.walk(tree):
        if node in allowed:
            continue
        name = node.id if isinstance(node, ast.Name) else ""
        if _reads_parameters(node) or (name == "params" and not isinstance(parents[node], ast.Attribute)):
            raise _refused(script, node, f"parameters are read by `{_READ}` alone")
        if name == "p":
            key = _longest_key(node, parents, known)
            if not key:
                raise _refused(script, node, "p is used by the names of parameters alone, such as p.mel.n_fft")
            keys.add(key)
        elif not isinstance(node, ast.Attribute | ast.Constant | ast.keyword) and "p" in vars(node).values():
            raise _refused(script, node, "p is the name of the parameters alone")
    return [key for key in known if key in keys and not any(key.startswith(f"{other}.") for other in keys)]


def _longest_key(name: ast.AST, parents: dict[ast.AST, ast.AST], known: list[str]) -> str:
    """The longest part of the chain of attributes on a name that is a parameter; empty if there is none."""
    key, node = "", parents[name]
    while isinstance(node, ast.Attribute) and f"{key}.{node.attr}".lstrip(".") in known:
        key, node = f"{key}.{node.attr}".lstrip("."), parents[node]
    return key


def _reads_parameters(node: ast.AST) -> bool:
    """Whether this mentions `params.read`, or imports it or the module under another name."""
    if isinstance(node, ast.Attribute):
        return node.attr == "read" and ast.unparse(node.value).split(".")[-1] == "params"
    if isinstance(node, ast.ImportFrom) and node.module == "fsat.core.params":
        return any(name.name in ("read", "*") for name in node.names)
    names = node.names if isinstance(node, ast.Import | ast.ImportFrom) else []
    return any(name.name.split(".")[-1] == "params" and name.asname for name in names)


def _refused(file: Path, node: ast.AST, why: str) -> TypeError:
    return TypeError(f"{file}, line {getattr(node, 'lineno', '?')}: {why}, so that the graph can be read from the code")


# Libraries -----------------------------------------------------------------------------------------------------------

# Where the name one imports is not the name one installs.
_DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow"}
# Libraries that compute or write for another one.
_BEHIND = {"keras": "tensorflow", "scikit-learn": "scipy"}
_PARQUET = re.compile(r"\bfiles\.(?:read|write)_parquet\b")


def imported_libraries(paths: Iterable[Path]) -> set[str]:
    """Names, as in requirements.txt, of the packages from elsewhere that the files import."""
    names = {name.split(".")[0] for path in paths for name in imported(path)}
    return {_DISTRIBUTIONS.get(name, name) for name in names if name not in PACKAGES}


def used_libraries(paths: Iterable[Path]) -> set[str]:
    """The imported libraries, and those that compute or write for them."""
    paths = list(paths)
    names = imported_libraries(paths)
    names |= {_BEHIND[name] for name in names & _BEHIND.keys()}
    return names | {"pyarrow" for path in paths if _PARQUET.search(path.read_text(encoding="utf-8"))}


# Writing -------------------------------------------------------------------------------------------------------------

_CODE = re.compile(rf"^ +- (?:{CORE}|(?:stages|fsat)/.*\.py)\n", flags=re.MULTILINE)
_DEPS = re.compile(r"^    deps:\n(?:      .*\n)*", flags=re.MULTILINE)
_PARAMS = re.compile(r"^    params:\n(?:      .*\n)*", flags=re.MULTILINE)
_STAGE = re.compile(r"^  [\w-]+:\n(?:(?:    .*)?\n)+", flags=re.MULTILINE)


def written(graph: str, root: Path) -> str:
    """Text of a dvc.yaml whose stages name the modules, parameters and libraries that their scripts use.

    `TypeError` if a script, or a module that it imports, uses parameters in a way that cannot be followed.
    """
    pinned = files.read_yaml(root / "versions.yaml")

    def mended(stage: re.Match[str]) -> str:
        command = re.search(r"    cmd: python -m ([\w.]+).*\n", text := stage[0])
        if command is None:
            return text
        script = root / (command[1].replace(".", "/") + ".py")
        closure = import_closure(script)
        for name in sorted(closure - {script.relative_to(root).as_posix()}):
            for node in ast.walk(_tree(root / name)):
                if _reads_parameters(node):
                    raise _refused(root / name, node, "a stage's script alone reads parameters")
        code = {CORE if name.startswith(f"{CORE}/") else name for name in closure}
        names = sorted(code, key=lambda name: (name.startswith("fsat"), name))  # the script before all others
        if "    deps:\n" not in text:
            text = text.replace(command[0], f"{command[0]}    deps:\n")
        at = first.start() if (first := _CODE.search(text)) else text.index("    deps:\n") + len("    deps:\n")
        text = text[:at] + "".join(f"      - {name}\n" for name in names) + _CODE.sub("", text[at:])
        lines = [f"      - {key}\n" for key in used_parameters(script)]
        if libraries := sorted(used_libraries(root / name for name in closure) & pinned.keys()):
            lines += ["      - versions.yaml:\n", *(f"          - {name}\n" for name in libraries)]
        block = "".join(["    params:\n", *lines]) if lines else ""
        return _DEPS.sub(lambda deps: deps[0] + block, _PARAMS.sub("", text))

    return _STAGE.sub(mended, graph)


def main() -> None:
    """Write both files anew."""
    for name in ("dvc.yaml", "sources/dvc.yaml"):
        path = Path(name)
        path.write_text(written(path.read_text(encoding="utf-8"), Path()), encoding="utf-8")


if __name__ == "__main__":
    main()
