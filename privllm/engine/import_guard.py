"""Where code comes from: what runs in a stage is what was hashed.

The fingerprint reads `privllm/` and `stages/` below the root; Python might load something else: a file in the root that is named
like a library, bytecode that is older than its source (equal size and time of change), another clone that is installed, a package
beside a module of its name. So `stages/__init__.py` calls `guard_imports` before anything else: our modules are compiled from the
very files that the fingerprint reads, and libraries come from the environment alone. `require_hashed_code` checks it afterwards.

It guards against mistakes, not against an attacker who may write into the environment.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader, all_suffixes
from importlib.util import spec_from_file_location
from itertools import pairwise
from pathlib import Path
from types import CodeType, ModuleType

from privllm.core.errors import UserError

OURS = ("privllm", "stages")
GUARDED = "PRIVLLM_GUARDED"  # in the environment of a stage: worker processes that it starts guard their imports too
ENVIRONMENT_FOLDERS = ("site-packages", "dist-packages")
STARTUP_HOOKS = {"sitecustomize", "usercustomize"}  # Python's own way for an environment to set itself up, wherever they lie


def file_of(root: Path, name: str) -> Path | None:
    """Return the file below `root` that the module `name` of ours is, None where there is none.

    Raises UserError where there are two: Python would take the package, whatever was hashed.
    """
    base = root.joinpath(*name.split("."))
    module, package = base.with_suffix(".py"), base / "__init__.py"
    if module.is_file() and package.is_file():
        raise UserError(f"{module} and {package} are two modules of one name ({name}): remove or rename one of them.")
    return module if module.is_file() else package if package.is_file() else None


class SourceOnlyLoader(SourceFileLoader):
    """Compiles a module from its source each time. Bytecode is neither read nor written."""

    source: bytes | None = None  # what was compiled

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        self.source = self.get_data(path)
        return self.source_to_code(self.source, path)


class OwnModules:
    """Finds our modules where the fingerprint reads them, and nowhere else."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.partition(".")[0] not in OURS:
            return None
        file = file_of(self.root, name)
        if file is None:
            raise ModuleNotFoundError(f"No module named {name!r} in {self.root}", name=name)
        folders = [str(file.parent)] if file.name == "__init__.py" else None
        return spec_from_file_location(name, file, loader=SourceOnlyLoader(name, str(file)), submodule_search_locations=folders)


def runs_a_stage() -> bool:
    """Is this process `python -m stages.x`, or a worker of one? (Tests and `privllm audit` import stages too.)"""
    words = sys.orig_argv
    as_module = any(word == "-m" and target.startswith("stages.") for word, target in pairwise(words))
    return as_module or GUARDED in os.environ


def guard_imports(root: Path) -> None:
    """From now on import our modules from source below `root`, and libraries from the environment alone."""
    os.environ[GUARDED] = "1"
    sys.path[:] = [place for place in sys.path if _is_environment(place)]
    sys.meta_path.insert(0, OwnModules(root))
    for name in [name for name in sys.modules if name.partition(".")[0] == "privllm"]:
        del sys.modules[name]  # this module among them: it came from bytecode, maybe, and is imported anew


def guarded_command(module: str) -> list[str]:
    """Return the command that runs a module of ours, in the repository's root, as a stage would import it."""
    start = f"import os, runpy; os.environ[{GUARDED!r}] = '1'; import stages; runpy.run_module({module!r}, run_name='__main__')"
    return [sys.executable, "-c", start]


def _standard_library() -> str:
    return os.path.dirname(os.__file__)  # noqa: PTH120  (one of the first imports of every stage)


def _is_environment(place: str) -> bool:
    """Is an entry of `sys.path` the standard library or a folder of installed packages?"""
    name = os.path.basename(place)  # noqa: PTH119
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    return name in (*ENVIRONMENT_FOLDERS, archive) or place == _standard_library() or place.startswith(_standard_library() + os.sep)


def require_no_shadows(root: Path, libraries: Iterable[str]) -> None:
    """Raise UserError where a file in the root is named like a library that the stage imports, or like one of Python's own modules."""
    names = set(libraries) | sys.stdlib_module_names
    for entry in sorted(root.iterdir()):
        stem = entry.name.partition(".")[0]
        is_module = entry.name.removeprefix(stem) in all_suffixes() or (entry / "__init__.py").is_file()
        if stem in names and is_module:
            raise UserError(
                f"{entry.name} in {root.resolve()} is named like the library `{stem}`, which Python may take it for: rename it."
            )


def require_hashed_code(root: Path) -> None:
    """Raise UserError unless every module of ours that is loaded is the file below `root` that is hashed."""
    for spec in _loaded():
        if spec.name.partition(".")[0] in OURS:
            _require_source(root, spec)


def loaded_sources() -> dict[str, tuple[Path, bytes]]:
    """Return the file and the bytes that each module of ours was compiled from, by its name; those that came otherwise are left out."""
    sources = {}
    for spec in _loaded():
        source = getattr(spec.loader, "source", None)
        if source is not None:
            sources[spec.name] = Path(spec.origin or ""), source
    return sources


def require_libraries_of_the_environment() -> None:
    """Raise UserError where a library was loaded from a folder that is none of installed packages."""
    for spec in _loaded():
        if "." not in spec.name and spec.name not in {*OURS, *STARTUP_HOOKS}:
            _require_environment(spec)


def _loaded() -> list[ModuleSpec]:
    """The specs of all loaded modules that came from somewhere, `__main__` under its true name."""
    specs = [getattr(module, "__spec__", None) for module in list(sys.modules.values())]
    return sorted((spec for spec in specs if spec is not None and spec.origin is not None), key=lambda spec: str(spec.name))


def _require_source(root: Path, spec: ModuleSpec) -> None:
    expected = file_of(root, spec.name)
    if expected is None or Path(spec.origin or "").resolve() != expected.resolve():
        raise UserError(
            f"`{spec.name}` was loaded from {spec.origin}, not from {root.resolve()}, where it was hashed: uninstall the other privllm, "
            "unset PYTHONSAFEPATH, or run `make setup` here."
        )
    if type(spec.loader).__name__ == SourceOnlyLoader.__name__:  # by name: the guard's own class was made before it was imported anew
        return
    # What another loader gives comes from bytecode, where there is any that looks current.
    loaded = spec.loader.get_code(spec.name)  # type: ignore[union-attr]
    if loaded != compile(expected.read_bytes(), str(expected), "exec", dont_inherit=True):
        raise UserError(f"{spec.cached} is not the bytecode of {expected}: remove its folder, and run the same command again.")


def _require_environment(spec: ModuleSpec) -> None:
    origin = Path(spec.origin or "")
    if not origin.is_absolute():  # "built-in", "frozen"
        return
    folders = {parent.name for parent in origin.parents}
    if not (folders & set(ENVIRONMENT_FOLDERS) or origin.is_relative_to(_standard_library()) or spec.name in sys.builtin_module_names):
        raise UserError(
            f"the library `{spec.name}` was loaded from {origin}, which is no folder of installed packages: remove it from PYTHONPATH."
        )
