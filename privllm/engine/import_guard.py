"""Import guard: the code that runs in a stage is the code that was hashed.

The fingerprint reads the project's `stages/` and `extensions/`, and the package privllm: below the root
in a clone of its repository, else where it is installed. Python might load something else: a
file in the root that is named like a library, bytecode that is older than its source (equal size
and time of change), another clone that is installed, a package beside a module of its name. So
`stages/__init__.py` calls `guard_imports` before anything else: our modules are compiled from the
very files that the fingerprint reads, and libraries come from the environment alone.
`require_hashed_code` checks it afterwards.

This protects from mistakes, not from an attacker who can write to the environment.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, SourceFileLoader, all_suffixes
from importlib.util import spec_from_file_location
from itertools import pairwise
from pathlib import Path
from types import CodeType, ModuleType

from privllm.core.errors import UserError
from privllm.core.work_paths import CHECKPOINTS

PACKAGE = "privllm"
EXTENSIONS = "extensions"  # folder of modules that params.yaml names
STAGES = "stages"
OURS = (PACKAGE, STAGES, EXTENSIONS)
GUARDED = "PRIVLLM_GUARDED"  # in the environment of a stage: worker processes that it starts guard their imports too
COMPILED = "compiled"  # folder of kernels beside the checkpoints of a stage's trainings
ENVIRONMENT_FOLDERS = ("site-packages", "dist-packages")
STARTUP_HOOKS = {
    "sitecustomize",
    "usercustomize",
}  # Python's own way for an environment to set itself up, wherever they lie


def package_folder(root: Path) -> Path:
    """Return the folder that holds privllm: `root`, if it is a clone of the repository, else where this module lies."""
    if os.path.isfile(f"{root}/{PACKAGE}/__init__.py"):  # noqa: PTH113  (`file_of`)
        return root
    return Path(__file__).resolve().parents[2]


def file_of(root: Path, name: str) -> Path | None:
    """Return the file of our module `name` in the project at `root`, None where there is none.

    Raises UserError where there are two: Python would take the package, whatever was hashed.
    """
    folder = package_folder(root) if name.partition(".")[0] == PACKAGE else root
    base = f"{folder}/{name.replace('.', '/')}"
    module, package = f"{base}.py", f"{base}/__init__.py"
    # Thousands of names are asked for, of which most are functions, and `Path.is_file` takes five times as long.
    is_module, is_package = os.path.isfile(module), os.path.isfile(package)  # noqa: PTH113
    if is_module and is_package:
        raise UserError(f"{module} and {package} are two modules of one name ({name}): remove or rename one of them.")
    if is_module:
        return Path(module)
    return Path(package) if is_package else None


class SourceOnlyLoader(SourceFileLoader):
    """Loader that compiles a module from its source each time.

    Bytecode is neither read nor written.
    """

    source: bytes | None = None  # what was compiled

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        self.source = self.get_data(path)
        return self.source_to_code(self.source, path)


class OwnModules:
    """Finder of our modules where the fingerprint reads them, and nowhere else."""

    def __init__(self, root: Path, names: tuple[str, ...] = OURS) -> None:
        """`names` are the top-level packages that it answers for."""
        self.root, self.names = root, names

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if name.partition(".")[0] not in self.names:
            return None
        file = file_of(self.root, name)
        if file is None and _is_folder_of_extensions(self.root, name):
            folder_spec = ModuleSpec(name, None, is_package=True)
            folder_spec.submodule_search_locations = [str(self.root.joinpath(*name.split(".")))]
            return folder_spec
        if file is None:
            raise ModuleNotFoundError(f"No module named {name!r} in {self.root}", name=name)
        loader = SourceOnlyLoader(name, str(file))
        folders = [str(file.parent)] if file.name == "__init__.py" else None
        return spec_from_file_location(name, file, loader=loader, submodule_search_locations=folders)


def _is_folder_of_extensions(root: Path, name: str) -> bool:
    """Return whether `name` is a folder that needs no `__init__.py`: extensions/, or one below it."""
    parts = name.split(".")
    return parts[0] == EXTENSIONS and root.joinpath(*parts).is_dir()


def find_extensions(root: Path) -> None:
    """Let this process import extensions from source below `root`, as a guarded stage does anyway."""
    for finder in sys.meta_path:
        # Compared by name: that of a guarded stage was created before this module was imported again.
        if type(finder).__name__ == OwnModules.__name__:
            return
    sys.meta_path.insert(0, OwnModules(root, (EXTENSIONS,)))


@contextmanager
def stages_of(root: Path) -> Iterator[None]:
    """Import stages of the project at `root` meanwhile: the command `privllm` has neither it nor its folder on its path."""
    finder = OwnModules(root.resolve(), (STAGES,))
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def runs_a_stage() -> bool:
    """Return whether this process is `python -m stages.x` or a worker of one.

    Tests and `privllm audit` import stages too.
    """
    for word, target in pairwise(sys.orig_argv):
        if word == "-m" and target.startswith("stages."):
            return True
    return GUARDED in os.environ


def guard_imports(root: Path) -> None:
    """Import our modules from source below `root` from now on, and libraries from the environment."""
    os.environ[GUARDED] = "1"
    sys.path[:] = [entry for entry in sys.path if _is_environment(entry)]
    sys.meta_path.insert(0, OwnModules(root))
    for name in list(sys.modules):
        if name.partition(".")[0] == PACKAGE:
            del sys.modules[name]  # this module too: it may come from bytecode, and is imported again


def guarded_command(module: str) -> list[str]:
    """Return the command that runs a module of ours as a stage would import it.

    It is to be run in the root of the repository.
    """
    statements = (
        f"import os, runpy; os.environ[{GUARDED!r}] = '1'",
        "import stages",
        f"runpy.run_module({module!r}, run_name='__main__')",
    )
    return [sys.executable, "-c", "; ".join(statements)]


def _standard_library() -> str:
    return os.path.dirname(os.__file__)  # noqa: PTH120  (one of the first imports of every stage)


def _is_environment(entry: str) -> bool:
    """Return whether an entry of `sys.path` is the standard library or a folder of packages."""
    name = os.path.basename(entry)  # noqa: PTH119
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    if name in (*ENVIRONMENT_FOLDERS, archive):
        return True
    return entry == _standard_library() or entry.startswith(_standard_library() + os.sep)


def shadows(root: Path, libraries: Iterable[str]) -> Iterator[tuple[Path, str]]:
    """Yield the files and packages in the root that are named like a library or a module of Python, with its name."""
    names = set(libraries) | sys.stdlib_module_names
    for entry in sorted(root.iterdir()):
        stem = entry.name.partition(".")[0]
        is_module = entry.name.removeprefix(stem) in all_suffixes() or (entry / "__init__.py").is_file()
        if stem in names and is_module:
            yield entry, stem


def require_no_shadows(root: Path, libraries: Iterable[str]) -> None:
    """Raise UserError where a file in the root is named like a library or a module of Python."""
    for entry, library in shadows(root, libraries):
        raise UserError(
            f"{entry.name} in {root.resolve()} is named like the library `{library}`, which Python may take it for: rename it."
        )


def require_hashed_code(root: Path) -> None:
    """Raise UserError unless every loaded module of ours is the hashed file below `root`."""
    for spec in _loaded():
        if spec.name.partition(".")[0] in OURS:
            _require_source(root, spec)


def loaded_sources() -> dict[str, tuple[Path, bytes]]:
    """Return {module of ours: the file and the bytes it was compiled from}.

    Those loaded otherwise are left out.
    """
    sources = {}
    for spec in _loaded():
        source = getattr(spec.loader, "source", None)
        if source is not None:
            sources[spec.name] = Path(spec.origin or ""), source
    return sources


def require_libraries_of_the_environment() -> None:
    """Raise UserError where a library was loaded from outside the environment."""
    for spec in _loaded():
        if "." not in spec.name and spec.name not in {*OURS, *STARTUP_HOOKS}:
            _require_environment(spec)


def _loaded() -> list[ModuleSpec]:
    """Return the specs of all loaded modules that have an origin, by name.

    `__main__` has its true name.
    """
    specs = []
    for module in list(sys.modules.values()):
        spec = getattr(module, "__spec__", None)
        if spec is not None and spec.origin is not None:
            specs.append(spec)
    return sorted(specs, key=lambda spec: str(spec.name))


def _require_source(root: Path, spec: ModuleSpec) -> None:
    """Raise UserError unless a module of ours was loaded from the source that is hashed."""
    expected = file_of(root, spec.name)
    if expected is None or Path(spec.origin or "").resolve() != expected.resolve():
        raise UserError(
            f"`{spec.name}` was loaded from {spec.origin}, not from {root.resolve()}, where it was hashed: uninstall the "
            "other privllm, unset PYTHONSAFEPATH, or run `make setup` here."
        )
    # Compared by name: the class of the loader was created before this module was imported again.
    if type(spec.loader).__name__ == SourceOnlyLoader.__name__:
        return
    # Another loader takes bytecode, where there is any that looks current.
    loaded = spec.loader.get_code(spec.name)  # type: ignore[union-attr]
    if loaded != compile(expected.read_bytes(), str(expected), "exec", dont_inherit=True):
        raise UserError(
            f"{spec.cached} is not the bytecode of {expected}: remove its folder, and run the same command again."
        )


def _require_environment(spec: ModuleSpec) -> None:
    """Raise UserError unless a library is of the standard library or of a folder of packages."""
    origin = Path(spec.origin or "")
    if not origin.is_absolute():  # "built-in", "frozen"
        return
    folders = {parent.name for parent in origin.parents}
    if folders & set(ENVIRONMENT_FOLDERS):
        return
    if origin.is_relative_to(_standard_library()) or spec.name in sys.builtin_module_names:
        return
    # What a compiler of the environment wrote for a training that it sped up: Triton loads such as modules.
    is_kernel = COMPILED in folders and origin.name.endswith(tuple(EXTENSION_SUFFIXES))
    if is_kernel and origin.is_relative_to(CHECKPOINTS.resolve()):
        return
    raise UserError(
        f"the library `{spec.name}` was loaded from {origin}, which is no folder of installed packages: remove it from PYTHONPATH."
    )
