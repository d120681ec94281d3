"""What a stage's code means: a hash per module it can reach, and the locked version of every library below it.

DVC sees files, not imports: an edited helper would leave its results standing, and an edited comment would
rebuild them. So the `fingerprint` stage reads the source (it runs none of it) and writes one small JSON per
stage, on which that stage depends. Comments, docstrings, formatting and annotations' positions do not count.
A hash per function, class and method stands beside them, for people: `privllm plan` names what was changed.

It sees `import` statements, wherever they stand. It does not see `importlib.import_module(name)`; the tests
watch real runs for modules that escaped it.
"""

import ast
import copy
import json
import re
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from privllm.core.errors import UserError
from privllm.core.report import write_json
from privllm.core.seed import digest
from privllm.core.work_paths import MODULES_FILE
from privllm.engine.digests import replacing
from privllm.engine.import_guard import OURS, file_of, loaded_sources, require_no_shadows

LOCK_FILE = Path("requirements.lock")
FOLDER = Path("data/fingerprint")
Understood = tuple[list[str], str, dict[str, str]]
PRESENTATION = {"typer", "rich"}  # they print for people and decide no byte of any output
EXECUTION = {"ray"}  # it says where work is done, and whether it is installed must change no key


def write_fingerprints(root: Path, out: Path) -> dict[str, Any]:
    """Write `out/<stage>.json` for every file in `root/stages`; returns counts for the report."""
    prints = _fingerprints(root)
    for stage, found in prints.items():
        write_json(out / f"{stage}.json", found)
    _memory.save(root / MODULES_FILE)
    modules = {name for found in prints.values() for name in found["modules"]}
    libraries = {name for found in prints.values() for name in found["libraries"]}
    return {"fingerprints": len(prints), "modules": len(modules), "libraries": len(libraries)}


def foretell_fingerprints(root: Path) -> dict[str, dict[str, Any]]:
    """{stage: what `write_fingerprints` would write for it now}; parses only modules that changed since, and writes nothing."""
    _memory.load(root / MODULES_FILE)
    return _fingerprints(root)


def _fingerprints(root: Path) -> dict[str, dict[str, Any]]:
    stages = sorted(path.stem for path in (root / "stages").glob("*.py") if path.stem not in ("__init__", "fingerprint"))
    return {stage: fingerprint(root, f"stages.{stage}") for stage in stages}


def fingerprint(root: Path, module: str) -> dict[str, Any]:
    """{"python": "3.11", "modules": {name: hash}, "symbols": {name: {symbol: hash}}, "libraries": {distribution: locked version}}.

    Of `module` and all that it can import. Equal hashes of a module mean equal hashes of its symbols, and the other way round.
    """
    modules, imported = closure(root, module)
    understood = {name: understand(path, name) for name, path in sorted(modules.items())}
    locked = locked_versions(root / LOCK_FILE)
    return {
        "python": python_version(),
        "modules": {name: found[1] for name, found in understood.items()},
        "symbols": {name: found[2] for name, found in understood.items()},
        "libraries": {name: locked[name] for name in sorted(distributions_below(imported)) if name in locked},
    }


def python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def imports_of(path: Path, name: str) -> set[str]:
    """Dotted names that a file imports, relative ones resolved; `from a import b` gives both a and a.b."""
    return set(understand(path, name)[0])


def understand(path: Path, name: str) -> Understood:
    """(`imports_of`, meaning, symbols) of the module `name` in the file `path`.

    The meaning is a hash of its syntax tree without docstrings, comments and positions.
    """
    return understand_source(path.read_bytes(), path, name)


def understand_source(data: bytes, path: Path, name: str) -> Understood:
    """`understand` of what the file `path` held."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    key = f"{_rules()} {python_version()} {package} {digest(data)}"
    if key not in _memory.known:
        tree = _parse(data, path)
        _memory.known[key] = sorted(_imports(tree, package)), _meaning(tree), _symbols(tree)
    return _memory.known[key]


@cache
def _rules() -> str:
    """What this module's own bytes are: what other rules understood is not believed."""
    return digest(Path(__file__).read_bytes())


class Memory:
    """What modules import and mean, by the bytes of their files: a stage that checks its key then parses nothing.

    Only `write_fingerprints` saves it, to a file that nobody needs to keep.
    """

    def __init__(self) -> None:
        self.known: dict[str, Understood] = {}

    def load(self, file: Path) -> None:
        with suppress(OSError, ValueError):
            self.known |= json.loads(file.read_text("utf-8"))

    def save(self, file: Path) -> None:
        with replacing(file) as partial:
            partial.write_text(json.dumps(self.known), "utf-8")


_memory = Memory()


def _meaning(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return digest(ast.dump(tree).encode())


def _symbols(node: ast.Module | ast.ClassDef, name: str = "") -> dict[str, str]:
    """A hash per function, class and method (`Class.method`), and `<module>` for the statements around them and their order.

    Two definitions of one name are one symbol. `_meaning` has taken the docstrings out before.
    """
    found: dict[str, str] = {}
    outline = copy.copy(node)
    outline.body = []
    for part in node.body:
        if not isinstance(part, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            outline.body.append(part)
            continue
        inner = f"{name}.{part.name}" if name else part.name
        inside = _symbols(part, inner) if isinstance(part, ast.ClassDef) else {inner: digest(ast.dump(part).encode())}
        found |= {key: digest(f"{found[key]} {value}".encode()) if key in found else value for key, value in inside.items()}
        outline.body.append(ast.Expr(ast.Constant(inner)))
    return found | {name or "<module>": digest(ast.dump(outline).encode())}


def _imports(tree: ast.Module, package: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names if base.split(".")[0] in OURS)
    return names


def _parse(data: bytes, path: Path) -> ast.Module:
    try:
        return ast.parse(data, filename=str(path))
    except SyntaxError as error:
        raise UserError(f"{path}, line {error.lineno}: {error.msg}. The build cannot tell what this code means; mend it.") from error


def closure(root: Path, module: str) -> tuple[dict[str, Path], set[str]]:
    """Every module of ours that `module` can import, with its file, and the top-level names of all others."""
    found: dict[str, Path] = {}
    foreign: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        path = file_of(root, name)
        if path is None:
            continue
        found[name] = path
        waiting += [name.rpartition(".")[0]] if "." in name else []
        for target in imports_of(path, name):
            (waiting.append if target.split(".")[0] in OURS else foreign.add)(target)
    return found, {name.split(".")[0] for name in foreign} - set(sys.stdlib_module_names)


def canonical(name: str) -> str:
    """A distribution's name as PEP 503 spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked_versions(lock: Path) -> dict[str, str]:
    """{distribution: version} of a file of exact pins."""
    try:
        lines = lock.read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"{lock} is missing: it pins the libraries that the build's keys name.") from None
    pins = (re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", line) for line in lines)
    return {canonical(pin[1]): pin[2] for pin in pins if pin}


@cache
def _providers() -> dict[str, list[str]]:
    import importlib.metadata  # here and below: a stage that only checks its key needs none of it, and it takes 0.05 s

    return {name: [canonical(dist) for dist in dists] for name, dists in importlib.metadata.packages_distributions().items()}


def distributions_below(top_levels: set[str]) -> set[str]:
    """The installed distributions that provide these modules, and all that those need in turn."""
    waiting = [dist for name in top_levels for dist in _providers().get(name, [])]
    found: set[str] = set()
    while waiting:
        dist = waiting.pop()
        if dist in found or dist in PRESENTATION | EXECUTION:
            continue
        found.add(dist)
        waiting += requirements_of(dist)
    return found


@cache
def requirements_of(dist: str) -> list[str]:
    """Canonical names of what an installed distribution needs here, its optional extras left out."""
    import importlib.metadata

    from packaging.requirements import Requirement

    try:
        texts = importlib.metadata.requires(dist) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    needs = [Requirement(text) for text in texts]
    return [canonical(need.name) for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]


def check_fingerprint(stage: str, root: Path = Path()) -> set[str]:
    """Refuse to run code, libraries or a Python other than those `data/fingerprint/<stage>.json` names; returns the libraries."""
    path = root / FOLDER / f"{stage}.json"
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc repro {stage}`, which makes it first.")
    recorded = json.loads(path.read_text("utf-8"))
    if recorded["python"] != python_version():
        raise UserError(
            f"this build was fingerprinted with Python {recorded['python']} and runs under {python_version()}: "
            "run `dvc repro --force fingerprint`, then `dvc repro`."
        )
    _memory.load(root / MODULES_FILE)
    modules, imported = closure(root, f"stages.{stage}")
    require_no_shadows(root, imported)
    changed = sorted(set(recorded["modules"].items()) ^ {(name, understand(file, name)[1]) for name, file in modules.items()})
    if changed:
        raise UserError(
            f"`{changed[0][0]}` is not the code that {path} was made from; it was edited since, or while the code was being read. "
            f"Run `dvc repro --force fingerprint`, then `dvc repro {stage}`."
        )
    for dist, version in recorded["libraries"].items():
        if (installed := _installed(dist)) != version:
            raise UserError(
                f"{dist} {installed} is installed, but {LOCK_FILE} says {version}: run `make setup`, or change the lock and `dvc repro`."
            )
    return set(recorded["libraries"])


def require_fingerprinted(stage: str, root: Path = Path()) -> None:
    """Raise UserError unless what was imported so far is what `data/fingerprint/<stage>.json` names.

    For the end of a stage: much is imported where it is needed, and a file may have been edited by then.
    """
    recorded = json.loads((root / FOLDER / f"{stage}.json").read_text("utf-8"))["modules"]
    for name, (path, source) in sorted(loaded_sources().items()):
        if understand_source(source, path, name)[1] != recorded.get(name):
            raise UserError(
                f"`{name}` was imported while {stage} ran, and its fingerprint names other code: it was edited meanwhile, or it is "
                f"imported in a way that the fingerprint does not see. Run `dvc repro --force fingerprint`, then `dvc repro {stage}`."
            )


def _installed(dist: str) -> str:
    return _versions().get(dist, "(none)")


@cache
def _versions() -> dict[str, str]:
    """{distribution: version without a local part} of what is installed, from the names of the folders that say so (PEP 427)."""
    folders = [Path(place) for place in reversed(sys.path) if place.endswith(("site-packages", "dist-packages"))]
    names = (path.name for folder in folders for path in folder.glob("*.dist-info"))
    pairs = (name.removesuffix(".dist-info").partition("-") for name in names)
    return {canonical(dist): version.partition("+")[0] for dist, _, version in pairs}
