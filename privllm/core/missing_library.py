"""Message for a library that is not installed.

The cause is that `.venv` is not active, or is older than requirements.lock.

This module imports nothing that could be missing.
"""

import sys

OURS = ("privllm", "stages", "extensions")


def missing_library(error: BaseException) -> str | None:
    """Return what to do where `error` says that a library is missing, None for any other error.

    If a module of ours, of Python's, or one within a library is missing, the mistake is ours, and
    keeps its traceback.
    """
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    if not name or "." in name or name in OURS or name in sys.stdlib_module_names:
        return None
    return (
        f"the library `{name}` is not installed for {sys.executable}. "
        "Run `make setup`, and `source .venv/bin/activate` in every new shell; then run the same command again."
    )
