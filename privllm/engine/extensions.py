"""Extensions: a project's own readers, rules, patterns, expectations and scores, in modules that params.yaml names.

`extensions: [extensions/house.py]`. Such a module assigns one or more of the dicts in `KINDS`, each
written out at its top level, so that grep finds every name. Here modules are only parsed: the stage
`fingerprint` runs none of their code. `engine.load_extensions` imports them.
"""

import ast
import difflib
import keyword
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from privllm.core.errors import UserError
from privllm.core.params import PARAMS_FILE, line_of, load_sections
from privllm.engine.import_guard import EXTENSIONS, file_of
from privllm.engine.module_analysis import parse_source

SECTION = "extensions"  # of params.yaml
KINDS: dict[str, tuple[str, ...]] = {  # {name of a dict: the stages that use it}
    "READERS": ("collect",),
    "QUALITY_RULES": ("clean",),
    "PERSONAL_DATA": ("clean", "feedback", "start"),
    "EXPECTATIONS": ("validate",),
    "TASK_SCORES": ("finetune",),
}
SIMILAR = 0.8  # a name of a module that is so close to one in KINDS is a slip


class Extensions(NamedTuple):
    """Modules that a stage, or a command, uses."""

    stage: str = ""  # whose fingerprint names their code; "" where a command reads them as they are
    modules: tuple[str, ...] = ()  # "extensions.house"


NO_EXTENSIONS = Extensions()


class Extension(NamedTuple):
    """A module as it is written."""

    path: str  # as params.yaml names it
    module: str
    names: dict[str, dict[str, int]]  # {kind: {name: line}}
    lines: dict[str, int]  # {kind: line of its dict}

    def place(self, kind: str, name: str) -> str:
        """Return "extensions/house.py, line 3"."""
        return f"{self.path}, line {self.names[kind][name]}"


def declared_extensions(root: Path = Path()) -> list[Extension]:
    """Return the extensions that params.yaml names, in its order; none where there is no params.yaml.

    Raises UserError for a path that is no module below extensions/, for one that is missing or
    cannot be parsed, and for a name that two of them have.
    """
    if not (root / PARAMS_FILE).is_file():
        return []
    paths = load_sections(root / PARAMS_FILE).get(SECTION, [])
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths) or len({*paths}) < len(paths):
        raise UserError(f"{_parameter(root)} must be a list of files, each once, such as [{EXTENSIONS}/house.py].")
    extensions = [read_extension(path, root) for path in paths]
    _require_single_names(extensions)
    return extensions


def extensions_for(kind: str, root: Path = Path()) -> Extensions:
    """Return the modules that params.yaml names for a kind, for commands; a stage asks its fingerprint."""
    return Extensions("", tuple(extension.module for extension in declared_extensions(root) if kind in extension.names))


def modules_of_stage(extensions: list[Extension], stage: str) -> tuple[str, ...]:
    """Return the modules that hold something for a stage."""
    modules = []
    for extension in extensions:
        if any(stage in KINDS[kind] for kind in extension.names):
            modules.append(extension.module)
    return tuple(modules)


def read_extension(path: str, root: Path = Path()) -> Extension:
    """Return what the module in `path` holds. Raises UserError where it is no extension."""
    module = _module_of(path, root)
    file = file_of(root, module)
    if file is None:
        raise UserError(f"{_parameter(root)} names `{path}`, which is missing: write it, or take it out of the list.")
    if not file.resolve().is_relative_to(root.resolve()):
        raise UserError(
            f"{_parameter(root)} names `{path}`, which leads out of the project: put the file itself there."
        )
    tree = parse_source(file.read_bytes(), Path(path))
    dicts = _dicts_in(tree, path)
    if not dicts:
        raise UserError(f"{path} assigns none of {', '.join(KINDS)} at its top level, so it extends nothing.")
    names = {kind: _names_in(node, kind, path) for kind, node in dicts.items()}
    return Extension(path, module, names, {kind: node.lineno for kind, node in dicts.items()})


def _parameter(root: Path) -> str:
    return f"parameter `{SECTION}` ({PARAMS_FILE}, line {line_of(root / PARAMS_FILE, SECTION)})"


def _module_of(path: str, root: Path) -> str:
    """Return the module's name of a path such as "extensions/house.py"."""
    pure = PurePosixPath(path)
    parts = pure.with_suffix("").parts if pure.name else ()
    are_names = all(part.isidentifier() and not keyword.iskeyword(part) and part != "__init__" for part in parts)
    is_module = len(parts) > 1 and parts[0] == EXTENSIONS and are_names
    if not is_module or pure.suffix != ".py" or str(pure) != path:
        raise UserError(
            f"{_parameter(root)} names `{path}`: it must be a module below {EXTENSIONS}/, such as {EXTENSIONS}/house.py."
        )
    return ".".join(parts)


def _dicts_in(tree: ast.Module, path: str) -> dict[str, ast.Dict]:
    """Return {kind: the dict that the module assigns to it}."""
    dicts: dict[str, ast.Dict] = {}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for name in _bound_names(node):
            if name in KINDS and not _is_only_binding(node, tree, dicts):
                raise UserError(
                    f"{path}, line {line}: `{name}` must be assigned once, at the top level, as a dict that is "
                    f'written out there: {name} = {{"name": ...}}.'
                )
            if name in KINDS:
                dicts[name] = node.value  # type: ignore[attr-defined]
            elif node in tree.body:
                _require_no_slip(name, f"{path}, line {line}")
    return dicts


def _bound_names(node: ast.AST) -> Iterator[str]:
    """Yield the names that a statement binds, those that a plain `x = ...` within an expression binds included."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign | ast.Delete):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.For | ast.NamedExpr):
        targets = [node.target]
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name) for alias in node.names)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    for target in targets:
        inner = [part for part in ast.walk(target) if isinstance(part, ast.Name)]
        yield from (name.id for name in inner)


def _is_only_binding(node: ast.AST, tree: ast.Module, dicts: dict[str, ast.Dict]) -> bool:
    """Return whether a statement is `NAME = {...}` at the top level, and the first of this name."""
    if node not in tree.body or not isinstance(getattr(node, "value", None), ast.Dict):
        return False
    if isinstance(node, ast.Assign):
        return len(node.targets) == 1 and isinstance(node.targets[0], ast.Name) and node.targets[0].id not in dicts
    return isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id not in dicts


def _require_no_slip(name: str, place: str) -> None:
    """Raise UserError for a name that is nearly one of KINDS: its dict would be ignored."""
    matches = difflib.get_close_matches(name, KINDS, n=1, cutoff=SIMILAR)
    if matches and name.isupper():
        raise UserError(f"{place}: `{name}` is used by nothing; did you mean `{matches[0]}`?")


def _names_in(node: ast.Dict, kind: str, path: str) -> dict[str, int]:
    """Return {name: line} of a dict's keys. Raises UserError for a key that is no text, and for one that stands there twice."""
    names: dict[str, int] = {}
    for key in node.keys:
        value: Any = key.value if isinstance(key, ast.Constant) else None
        line = node.lineno if key is None else key.lineno
        if not isinstance(value, str):
            raise UserError(f"{path}, line {line}: every name in `{kind}` must be a text that is written out.")
        if value in names:
            raise UserError(f"{path}, line {line}: `{value}` stands in `{kind}` twice.")
        names[value] = line
    return names


def _require_single_names(extensions: list[Extension]) -> None:
    """Raise UserError where two modules give one name."""
    for kind in KINDS:
        places: dict[str, str] = {}
        for extension in extensions:
            for name in extension.names.get(kind, {}):
                place = extension.place(kind, name)
                if name in places:
                    raise UserError(f"{place}: the name `{name}` in `{kind}` is taken, by {places[name]}: rename one.")
                places[name] = place
