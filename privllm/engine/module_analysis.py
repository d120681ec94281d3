"""What a Python module imports and means, read from its source; the code is never run.

The meaning is a hash of the syntax tree without comments, docstrings, formatting and positions. A
hash for each function, class and method stands beside it, for people. Only `import` statements are
seen, not `importlib.import_module(name)`.
"""

import ast
import copy
import json
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from privllm.core.errors import UserError
from privllm.core.seed import digest
from privllm.engine.digests import replacing
from privllm.engine.import_guard import OURS


class ModuleAnalysis(NamedTuple):
    """What is read from the source of one module."""

    imports: list[str]  # dotted names, sorted; `from a import b` gives both a and a.b
    meaning: str  # 32 hexadecimal digits
    symbols: dict[str, str]  # {function, class or `Class.method`: hash}, and `<module>`


class AnalysisCache:
    """Analyses by the bytes of the source files; a stage that checks its key parses nothing.

    Only `engine.fingerprint.write_fingerprints` saves them; the file can be removed at any time.
    """

    def __init__(self) -> None:
        self.analyses: dict[str, ModuleAnalysis] = {}

    def load(self, file: Path) -> None:
        """Add what `file` holds; a missing or damaged file holds nothing."""
        with suppress(OSError, ValueError):
            self.analyses |= json.loads(file.read_text("utf-8"))

    def save(self, file: Path) -> None:
        """Write all analyses to `file`."""
        with replacing(file) as partial:
            partial.write_text(json.dumps(self.analyses), "utf-8")


analysis_cache = AnalysisCache()


def python_version() -> str:
    """Return the version of Python that decides what code means: "3.11"."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def imports_of(path: Path, name: str) -> set[str]:
    """Return the dotted names that a module imports, relative ones resolved."""
    return set(analyse(path, name).imports)


def analyse(path: Path, name: str) -> ModuleAnalysis:
    """Return the analysis of the module `name` in the file `path`.

    Raises UserError for a syntax error.
    """
    return analyse_source(path.read_bytes(), path, name)


def analyse_source(source: bytes, path: Path, name: str) -> ModuleAnalysis:
    """Return the analysis of the module `name`, whose file `path` held the bytes `source`."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    key = f"{_rules()} {python_version()} {package} {digest(source)}"
    if key not in analysis_cache.analyses:
        tree = parse_source(source, path)
        nodes = list(ast.walk(tree))
        imports = sorted(_imports(nodes, package))
        _remove_docstrings(nodes)
        symbols = _symbols(tree)
        meaning = digest(json.dumps(symbols).encode())
        analysis_cache.analyses[key] = ModuleAnalysis(imports, meaning, symbols)
    return ModuleAnalysis(*analysis_cache.analyses[key])  # those that were loaded are lists


@cache
def _rules() -> str:
    """Return a digest of this file, so that analyses by other rules are not reused."""
    return digest(Path(__file__).read_bytes())


def parse_source(source: bytes, path: Path) -> ast.Module:
    """Return the syntax tree of a module. Raises UserError, with its line, where it has none."""
    try:
        return ast.parse(source, filename=str(path))
    except SyntaxError as error:
        raise UserError(
            f"{path}, line {error.lineno}: {error.msg}. The build cannot tell what this code means; fix it.",
        ) from error


def _remove_docstrings(nodes: list[ast.AST]) -> None:
    for node in nodes:
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]


def _symbols(node: ast.Module | ast.ClassDef, name: str = "") -> dict[str, str]:
    """Return a hash for each function, class and method, and one for all around them.

    The latter is called `<module>`. Two definitions of one name are one symbol. Docstrings must
    have been removed.
    """
    symbols: dict[str, str] = {}
    outline = copy.copy(node)  # with a name in the place of each definition
    outline.body = []
    for statement in node.body:
        if not isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            outline.body.append(statement)
            continue
        symbol = f"{name}.{statement.name}" if name else statement.name
        outline.body.append(ast.Expr(ast.Constant(symbol)))
        definitions = _symbols(statement, symbol) if isinstance(statement, ast.ClassDef) else {symbol: _hash(statement)}
        for key, value in definitions.items():
            symbols[key] = digest(f"{symbols[key]} {value}".encode()) if key in symbols else value
    return symbols | {name or "<module>": _hash(outline)}


def _hash(node: ast.AST) -> str:
    return digest(ast.dump(node).encode())


def _imports(nodes: list[ast.AST], package: str) -> set[str]:
    """Return the names that the nodes of a module import, wherever the statements stand."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute_name(node, package)
            names.add(base)
            if base.split(".")[0] in OURS:
                names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def _absolute_name(node: ast.ImportFrom, package: str) -> str:
    """Return the module that a `from` statement in `package` names, a relative one resolved."""
    base = node.module or ""
    if not node.level:
        return base
    ancestors = package.split(".")
    parents = ancestors[: len(ancestors) - node.level + 1]
    return ".".join([*parents, base] if base else parents)
