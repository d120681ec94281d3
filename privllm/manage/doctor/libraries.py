"""Checks of what is installed: Python, privllm, the locked libraries, torch and its GPU, optional parts.

Each function returns a finding from what it is given; `report` looks at the machine.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

import privllm
from privllm.engine.fingerprint import LOCK_FILE, canonical
from privllm.manage.doctor.finding import Finding, State, in_gb

PYTHONS = ((3, 11), (3, 13))  # first and last
INSTALL_LOCK = f"pip install --no-deps --require-hashes -r {LOCK_FILE}"
REINSTALL_TORCH = "pip uninstall torch && pip install torch"
WEB_LIBRARIES = ("fastapi", "httpx", "uvicorn")
NAMED = 3  # libraries that are named on the terminal
PROBE = Path("models/torch_probe.py")  # below the package
PROBE_SECONDS = 180  # torch takes some ten on a slow disk
Probe = Mapping[str, Any]


def python_finding(version: tuple[int, ...], executable: str) -> Finding:
    """Return whether privllm works with this Python."""
    value = f"{'.'.join(map(str, version[:3]))}, {executable}"
    first, last = PYTHONS
    if first <= version[:2] <= last:
        return Finding("Python", State.ok, value)
    return Finding("Python", State.missing, f"{value}: 3.11, 3.12 or 3.13 is needed", "make setup PYTHON=python3.12")


def privllm_finding(version: str | None, package: Path, root: Path) -> Finding:
    """Return whether the `privllm` that runs is the one of the repository at `root`, where that has one."""
    value = f"{version or 'no version'}, {package}"
    own = root.resolve() / "privllm"
    is_repository = (own / "__init__.py").is_file()
    if is_repository and own != package:
        return Finding("privllm", State.warning, f"{value}: not the code of this folder", "pip install --no-deps -e .")
    if version is None:
        return Finding("privllm", State.warning, f"{value}: it is not installed", "pip install --no-deps -e .")
    return Finding("privllm", State.ok, value)


def lock_finding(locked: Mapping[str, str], installed: Mapping[str, str], needed: Collection[str]) -> Finding:
    """Return which libraries are not those of the lock. `needed` are those that it wants on this machine."""
    faults = []
    for dist, version in sorted(locked.items()):
        if dist in installed and installed[dist] != version:
            faults.append(f"{dist} is {installed[dist]}, not {version}")
        elif dist not in installed and dist in needed:
            faults.append(f"{dist} is not installed")
    if not faults:
        return Finding("libraries", State.ok, f"{len(needed):,} as {LOCK_FILE} pins them")
    named = "; ".join(faults[:NAMED])
    more = f"; and {len(faults) - NAMED:,} more" if len(faults) > NAMED else ""
    return Finding("libraries", State.missing, f"{named}{more}", INSTALL_LOCK)


def needed_here(lock: Path) -> set[str]:
    """Return the distributions that a lock wants on this machine: those whose markers hold."""
    names = set()
    for line in lock.read_text("utf-8").splitlines():
        try:
            requirement = Requirement(line.rstrip("\\ "))
        except InvalidRequirement:  # a comment or a hash
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            names.add(canonical(requirement.name))
    return names


def probe_torch(package: Path = Path(privllm.__file__).parent, timeout: float = PROBE_SECONDS) -> Probe:
    """Return what `models.torch_probe` says of torch, or {"error": why it says nothing}."""
    command = [sys.executable, "-P", str(package / PROBE)]
    try:
        process = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout)
    except subprocess.TimeoutExpired:
        return {"error": f"its import took more than {timeout:.0f} seconds"}
    try:
        return json.loads(process.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        last_words = (process.stderr.strip() or "it does not say why").splitlines()[-1]
        return {"error": f"the import ended with {process.returncode}: {last_words}"}


def torch_finding(probe: Probe, locked_version: str) -> Finding:
    """Return whether torch can be imported, and for what it was built."""
    if "error" in probe:
        command = f"{REINSTALL_TORCH}=={locked_version}" if locked_version else REINSTALL_TORCH
        return Finding("torch", State.missing, f"it cannot be imported: {probe['error']}", command)
    return Finding("torch", State.ok, f"{probe['version']}, {_build_of(probe)}")


def _build_of(probe: Probe) -> str:
    built_for = probe["cuda"]
    if not built_for:
        return "built for CPUs"
    return f"built for {built_for if built_for.startswith('ROCm') else f'CUDA {built_for}'}"


def gpu_finding(probe: Probe, has_gpu: bool, locked_version: str) -> Finding:
    """Return which GPUs torch can use, or why it cannot use the one that the machine seems to have."""
    if "error" in probe:
        return Finding("GPU", State.warning, "unknown, since torch cannot be imported")
    if probe["gpus"]:
        counts = Counter(f"{gpu['name']} ({in_gb(gpu['bytes'])})" for gpu in probe["gpus"])
        gpus = [f"{count} x {gpu}" if count > 1 else gpu for gpu, count in counts.items()]
        return Finding("GPU", State.ok, ", ".join(gpus))
    if not has_gpu:
        return Finding("GPU", State.ok, "none in this machine: models are trained on the CPU")
    if not probe["cuda"]:
        command = f"{REINSTALL_TORCH}=={locked_version}" if locked_version else REINSTALL_TORCH
        return Finding("GPU", State.warning, "there is one, but this torch is built for CPUs", command)
    reason = probe["reason"] or "torch does not say why"
    return Finding("GPU", State.warning, f"there is one, but torch cannot use it: {reason}", "nvidia-smi")


def spacy_finding(models: Collection[str], limit: int, missing: Collection[str]) -> Finding:
    """Return whether the spaCy pipelines of `annotate.models` are there, which `annotate.limit: 0` does without."""
    if not missing:
        return Finding("spaCy models", State.ok, ", ".join(models))
    value = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not there"
    if limit == 0:
        return Finding("spaCy models", State.ok, f"{value}, and `annotate.limit: 0` does without")
    is_own = any("/" in model for model in missing)
    return Finding("spaCy models", State.missing, value, "dvc pull" if is_own else INSTALL_LOCK)


def web_finding(missing: Collection[str]) -> Finding:
    """Return whether `privllm serve` and `privllm arena` have their libraries."""
    if not missing:
        return Finding("web server", State.ok, ", ".join(WEB_LIBRARIES))
    value = f"{', '.join(missing)} is not installed, so `privllm serve` does not run"
    return Finding("web server", State.warning, value, "pip install 'privllm[serve]'")


def ray_finding(address: str, installed: bool) -> Finding:
    """Return whether Ray is there, which only a build on several machines (`executor.address`) needs."""
    if installed:
        return Finding("Ray", State.ok, f"installed; executor.address is {address or 'this machine'}")
    if not address:
        return Finding("Ray", State.ok, "not installed; only builds on several machines need it")
    return Finding(
        "Ray", State.missing, f"not installed, and executor.address is {address}", "pip install 'privllm[ray]'"
    )


def compiler_finding(compiler: str, has_headers: bool) -> Finding:
    """Return whether `torch.compile` works on the CPU, without which `compile: true` trains a fifth slower."""
    without = "so `compile: true` trains without torch.compile"
    if not compiler:
        command = "apt install g++ (Debian, Ubuntu), xcode-select --install (macOS), or name one in CXX"
        return Finding("C++ compiler", State.warning, f"there is no g++, {without}", command)
    if not has_headers:
        command = "apt install python3-dev (Debian, Ubuntu)"
        return Finding("C++ compiler", State.warning, f"Python's C headers are missing, {without}", command)
    return Finding("C++ compiler", State.ok, compiler)


def is_installed(module: str) -> bool:
    """Return whether a module could be imported; it is not."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a package above it is broken
        return False
