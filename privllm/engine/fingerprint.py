"""Fingerprints of stages: hashes of the modules a stage can reach, versions of its libraries.

DVC sees files, not imports: an edited helper would leave its results standing, and an edited
comment would rebuild them. So the `fingerprint` stage reads the source (`engine.module_analysis`)
and writes one small JSON per stage, on which that stage depends. A hash of each function, class and
method stands in it for people: `privllm plan` names what was changed.

Modules that are imported by name at run time are not seen; the tests watch real runs for modules
that escaped it.
"""

import csv
import json
import re
import sys
from collections.abc import Iterator, Set
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from privllm.core.errors import UserError
from privllm.core.report import write_json
from privllm.core.seed import digest
from privllm.core.work_paths import MODULES_FILE
from privllm.engine.extensions import Extensions, declared_extensions, modules_of_stage
from privllm.engine.import_guard import OURS, PACKAGE, file_of, loaded_sources, package_folder, require_no_shadows
from privllm.engine.module_analysis import analyse, analyse_source, analysis_cache, imports_of, python_version
from privllm.engine.programs import programs_of

LOCK_FILE = Path("requirements.lock")
FOLDER = Path("data/fingerprint")
UPGRADE = "run `privllm upgrade`, then `dvc repro`"  # in a project where the package alone is another
PRESENTATION = {"typer", "rich"}  # they print for people and decide no byte of any output
RESOURCES = {".j2"}  # suffixes of files that are code in another language
EXECUTION = {"ray"}  # it says where work is done, and whether it is installed must change no key


def write_fingerprints(root: Path, out: Path) -> dict[str, Any]:
    """Write `out/<stage>.json` for every file in `root/stages`; return counts for the report."""
    fingerprints = _fingerprints(root)
    modules: set[str] = set()
    libraries: set[str] = set()
    for stage, content in fingerprints.items():
        write_json(out / f"{stage}.json", content)
        modules.update(content["modules"])
        libraries.update(content["libraries"])
    analysis_cache.save(root / MODULES_FILE)
    return {"fingerprints": len(fingerprints), "modules": len(modules), "libraries": len(libraries)}


def foretell_fingerprints(root: Path) -> dict[str, dict[str, Any]]:
    """Return {stage: what `write_fingerprints` would write for it now}.

    Parses only the modules that changed since, and writes nothing.
    """
    analysis_cache.load(root / MODULES_FILE)
    return _fingerprints(root)


def _fingerprints(root: Path) -> dict[str, dict[str, Any]]:
    files = (root / "stages").glob("*.py")
    stages = sorted({path.stem for path in files} - {"__init__", "fingerprint"})
    extensions = declared_extensions(root)
    fingerprints = {}
    for stage in stages:
        fingerprints[stage] = fingerprint(root, f"stages.{stage}", modules_of_stage(extensions, stage))
        if programs := programs_of(stage, root):
            fingerprints[stage]["programs"] = programs
    return fingerprints


def fingerprint(root: Path, module: str, extensions: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the fingerprint of `module`, of the extensions that it uses, and of all that these can import.

    {"python": "3.11", "modules": {name: hash}, "symbols": {name: {symbol: hash}}, "libraries":
    {distribution: locked version}, "extensions": [name]}. Equal hashes of a module mean equal hashes
    of its symbols, and the other way round. A template beside a module counts as one without symbols.
    """
    modules, libraries = closure(root, module, *extensions)
    analyses = {name: analyse(path, name) for name, path in sorted(modules.items())}
    meanings = {name: analysis.meaning for name, analysis in analyses.items()}
    locked = locked_versions(root / LOCK_FILE)
    distributions = distributions_below(libraries)
    return {
        "python": python_version(),
        "modules": meanings | resources_beside(modules),
        "symbols": {name: analysis.symbols for name, analysis in analyses.items()},
        "libraries": {dist: locked[dist] for dist in sorted(distributions & locked.keys())},
        "extensions": list(extensions),
    }


def closure(root: Path, *entrances: str) -> tuple[dict[str, Path], set[str]]:
    """Return our modules that those at the entrances can import, with their files, and the names of all others.

    The latter are top-level names, without Python's own.
    """
    modules: dict[str, Path] = {}
    foreign: set[str] = set()
    seen: set[str] = set()
    waiting = list(entrances)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        path = file_of(root, name)
        if path is None:
            continue
        modules[name] = path
        if "." in name:
            waiting.append(name.rpartition(".")[0])
        for target in imports_of(path, name):
            top_level = target.split(".")[0]
            if top_level in OURS:
                waiting.append(target)
            else:
                foreign.add(top_level)
    return modules, foreign - set(sys.stdlib_module_names)


def resources_beside(modules: dict[str, Path]) -> dict[str, str]:
    """Return {"privllm.report/page.html.j2": hash} of the files that our modules read as if they were code."""
    folders = {name.rpartition(".")[0]: path.parent for name, path in modules.items() if path.stem != "__init__"}
    hashes = {}
    for package, folder in sorted(folders.items()):
        for path in sorted(folder.iterdir()):
            if path.suffix in RESOURCES:
                hashes[f"{package}/{path.name}"] = digest(path.read_bytes())
    return hashes


def canonical(name: str) -> str:
    """Return a distribution's name as PEP 503 spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked_versions(lock: Path) -> dict[str, str]:
    """Return {distribution: version} of a file of exact pins.

    Raises UserError where it is missing.
    """
    try:
        text = lock.read_text("utf-8")
    except FileNotFoundError:
        raise UserError(f"{lock} is missing: it pins the libraries that the build's keys name.") from None
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", text, flags=re.MULTILINE)
    return {canonical(dist): version for dist, version in pins}


@cache
def _providers() -> dict[str, list[str]]:
    """Return {top-level module: distributions that are installed and provide it}."""
    providers: dict[str, set[str]] = {}
    for dist, folder in _dist_info_folders():
        for name in _top_levels(folder):
            providers.setdefault(name, set()).add(dist)
    return {name: sorted(dists) for name, dists in providers.items()}


def _top_levels(folder: Path) -> set[str]:
    """Return the top-level modules of the distribution that `folder` describes.

    `importlib.metadata.packages_distributions` says the same; it makes an object of each installed file, in half a second.
    """
    with suppress(FileNotFoundError, NotADirectoryError):  # distutils wrote a file instead of the folder
        return set((folder / "top_level.txt").read_text("utf-8").split())
    names = set()
    with (
        suppress(FileNotFoundError, NotADirectoryError),
        (folder / "RECORD").open(encoding="utf-8", newline="") as record,
    ):
        for path, *_ in csv.reader(record):
            if path.endswith(".py"):
                names.add(path.partition("/")[0].removesuffix(".py"))
    return names


def distributions_below(top_levels: set[str]) -> set[str]:
    """Return the installed distributions that provide these modules, and all that those need."""
    waiting = [dist for name in top_levels for dist in _providers().get(name, [])]
    distributions: set[str] = set()
    while waiting:
        dist = waiting.pop()
        if dist in distributions or dist in PRESENTATION | EXECUTION:
            continue
        distributions.add(dist)
        waiting += requirements_of(dist)
    return distributions


@cache
def requirements_of(dist: str) -> list[str]:
    """Return the canonical names of what an installed distribution needs on this machine.

    Its optional extras are left out.
    """
    import importlib.metadata

    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires(dist) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    names = []
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            names.append(canonical(requirement.name))
    return names


def check_fingerprint(stage: str, root: Path = Path()) -> set[str]:
    """Return the libraries that `data/fingerprint/<stage>.json` names.

    Raises UserError where the code, a library's version or Python is another than it names.
    """
    path = root / FOLDER / f"{stage}.json"
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc repro {stage}`, which makes it first.")
    recorded = json.loads(path.read_text("utf-8"))
    if "extensions" not in recorded:
        raise UserError(f"{path} was written by another version of this code: run `dvc repro {stage}`.")
    if recorded["python"] != python_version():
        raise UserError(
            f"this build was fingerprinted with Python {recorded['python']} and runs under {python_version()}: "
            "run `dvc repro --force fingerprint`, then `dvc repro`."
        )
    _require_recorded_modules(stage, root, recorded, path)
    if recorded.get("programs", {}) != programs_of(stage, root):
        raise UserError(
            f"{path} was made with another tesseract than is installed: run `dvc repro --force fingerprint`, then `dvc repro`."
        )
    for dist, locked_version in recorded["libraries"].items():
        installed_version = installed_versions().get(dist, "(none)")
        if installed_version != locked_version:
            raise UserError(
                f"{dist} {installed_version} is installed, but {LOCK_FILE} says {locked_version}: run `make setup`, "
                "or change the lock and `dvc repro`."
            )
    return set(recorded["libraries"])


def _require_recorded_modules(stage: str, root: Path, recorded: dict[str, Any], path: Path) -> None:
    """Raise UserError where a module of the stage has another meaning than `path` has recorded."""
    analysis_cache.load(root / MODULES_FILE)
    modules, libraries = closure(root, f"stages.{stage}", *recorded["extensions"])
    require_no_shadows(root, libraries)
    present = {name: analyse(file, name).meaning for name, file in modules.items()} | resources_beside(modules)
    changed = sorted(present.items() ^ recorded["modules"].items())
    if changed and changed[0][0].startswith(f"{PACKAGE}.") and package_folder(root) != root:
        raise UserError(
            f"{path} was made with another version of privllm than the installed one ({changed[0][0]} differs): {UPGRADE}."
        )
    if changed:
        raise UserError(
            f"`{changed[0][0]}` is not the code that {path} was made from; it was edited since, or while the code was "
            f"being read. Run `dvc repro --force fingerprint`, then `dvc repro {stage}`."
        )


def extensions_of(stage: str, root: Path = Path()) -> Extensions:
    """Return the extensions that `data/fingerprint/<stage>.json` names, with which the stage runs.

    A stage does not ask params.yaml: a reader that is added there must not run `clean` again.
    """
    recorded = json.loads((root / FOLDER / f"{stage}.json").read_text("utf-8"))
    return Extensions(stage, tuple(recorded["extensions"]))


def require_fingerprinted(stage: str, root: Path = Path()) -> None:
    """Raise UserError unless all that was imported is what `data/fingerprint/<stage>.json` names.

    For the end of a stage: much is imported where it is needed, and a file may have been edited by
    then.
    """
    _require_meanings(stage, root, set(loaded_sources()))


def require_fingerprinted_extensions(extensions: Extensions, root: Path = Path()) -> None:
    """Raise UserError unless a stage's extensions, and what they import, are what its fingerprint names.

    For each process that imports them. An audit runs several stages in one process, so extensions
    of others may be loaded beside them.
    """
    used, _ = closure(root, *extensions.modules)
    _require_meanings(extensions.stage, root, loaded_sources().keys() & used.keys())


def _require_meanings(stage: str, root: Path, names: Set[str]) -> None:
    """Raise UserError unless these loaded modules are what `data/fingerprint/<stage>.json` names."""
    recorded = json.loads((root / FOLDER / f"{stage}.json").read_text("utf-8"))["modules"]
    for name, (path, source) in sorted(loaded_sources().items()):
        if name in names and analyse_source(source, path, name).meaning != recorded.get(name):
            raise UserError(
                f"`{name}` was imported while {stage} ran, and its fingerprint names other code: it was edited meanwhile, "
                "or it is imported in a way that the fingerprint does not see. "
                f"Run `dvc repro --force fingerprint`, then `dvc repro {stage}`."
            )


@cache
def installed_versions() -> dict[str, str]:
    """Return {distribution: version without a local part} of what is installed.

    Read from the names of the folders that describe distributions, which is fast: `name-1.0.dist-info` (PEP 427), and
    `name-1.0-py3.11.egg-info`, which pip before 23.1 writes of a source distribution where there is no `wheel`.
    """
    return {dist: folder.stem.split("-")[1].partition("+")[0] for dist, folder in _dist_info_folders()}


def _dist_info_folders() -> Iterator[tuple[str, Path]]:
    """Yield each installed distribution and the folder that describes it; of two of a name, Python imports the last."""
    for entry in reversed(sys.path):
        if not entry.endswith(("site-packages", "dist-packages")):
            continue
        for kind in ("egg-info", "dist-info"):
            for folder in Path(entry).glob(f"*-*.{kind}"):
                yield canonical(folder.name.partition("-")[0]), folder
