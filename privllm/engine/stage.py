"""How a stage runs: offline, with the code its key names, with errors for people, and timed.

`stages/x.py` ends in `run(main)`. What main takes is paths only; what it needs to know otherwise it reads from
params.yaml. Durations go to `.privllm/log.jsonl`, which nothing in the build reads.
"""

import argparse
import errno
import gc
import inspect
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import privllm.core.offline  # noqa: F401  (first: it switches telemetry off)
from privllm.core.errors import UserError
from privllm.core.missing_library import missing_library
from privllm.core.out_of_memory import explain_shortage, ran_out
from privllm.core.printable import never_fail_to_print, printable
from privllm.core.tables import keep_pandas_out
from privllm.core.work_paths import LOG_FILE
from privllm.engine.fingerprint import check_fingerprint, require_fingerprinted
from privllm.engine.import_guard import require_hashed_code, require_libraries_of_the_environment
from privllm.engine.input_guard import Witness
from privllm.engine.params_check import require_sound_params
from privllm.engine.pipeline import declared_stage
from privllm.engine.source_guard import require_sources_as_read
from privllm.engine.store import work

INTERRUPTED = 130


def run(main: Callable[..., None]) -> None:
    """Call `main` with the command line's paths and leave the process with an exit code.

    A parameter of `main` is a path, or a switch (`verify: bool = False` is `--verify`).
    """
    never_fail_to_print()
    gc.freeze()  # what was imported stays
    gc.enable()
    stage, words = Path(sys.argv[0]).stem, sys.argv[1:]
    given = arguments(main, stage, words)
    start = time.perf_counter()
    code = call(lambda: _checked(stage, words, lambda: main(**given), start), stage)
    sys.stdout.flush()
    sys.stderr.flush()
    if threading.active_count() == 1:
        os._exit(code)  # taking the interpreter apart takes 0.1 s and does nothing for anybody
    sys.exit(code)


def arguments(main: Callable[..., None], stage: str, words: list[str]) -> dict[str, Any]:
    """The parameters of `main` from a command line; leaves the process on `--help` and on wrong words."""
    parser = argparse.ArgumentParser(prog=f"python -m stages.{stage}", description=sys.modules[main.__module__].__doc__)
    for name, parameter in inspect.signature(main).parameters.items():
        if parameter.annotation is bool:
            parser.add_argument(f"--{name}", action="store_true")
        else:
            parser.add_argument(name, type=Path)
    return vars(parser.parse_args(words))


def _checked(stage: str, words: list[str], action: Callable[[], None], start: float) -> None:
    require_hashed_code(Path())
    require_libraries_of_the_environment()
    require_sound_params()
    if stage != "fingerprint" and "pandas" not in check_fingerprint(stage):
        keep_pandas_out()
    name, declared = declared_stage(stage, words)
    require_sources_as_read(name)
    witness = Witness(declared)
    action()
    require_libraries_of_the_environment()  # again, for much is imported where it is needed
    if stage != "fingerprint":
        require_fingerprinted(stage)
    witness.verify()
    log_duration(name, time.perf_counter() - start)


def call(action: Callable[[], object], name: str) -> int:
    """Run `action`; what a person can mend becomes one paragraph on stderr. Returns the exit code."""
    try:
        action()
        return 0
    except KeyboardInterrupt as interrupt:
        saved = f" ({interrupt})" if interrupt.args else ""
        explain(f"{name} was interrupted{saved}. Nothing is lost: run the same command again and it goes on.")
        return INTERRUPTED
    except (UserError, OSError, MemoryError) as error:
        if os.environ.get("PRIVLLM_DEBUG") == "1":
            raise
        explain(f"{name}: {_paragraph(error)}")
        return 1
    except Exception as error:
        if (text := missing_library(error)) and os.environ.get("PRIVLLM_DEBUG") != "1":
            explain(f"{name}: {text}")
            return 1
        if ran_out(error) and os.environ.get("PRIVLLM_DEBUG") != "1":  # torch says it by a RuntimeError
            explain(f"{name}: {_paragraph(error)}")
            return 1
        if hasattr(error, "format_message"):  # click's own usage errors
            explain(f"{name}: {error.format_message()}")
            return 2
        if hasattr(error, "exit_code"):  # click's way to leave
            return int(error.exit_code)
        raise


def require_verdict(path: Path) -> None:
    """Raise UserError unless validation's verdict file says that the documents passed."""
    if json.loads(path.read_text("utf-8")).get("passed") is not True:
        raise UserError(f"{path} says that validation failed: open reports/validate/index.html, then mend the documents or `validate`.")


def _paragraph(error: Exception) -> str:
    if ran_out(error):
        return explain_shortage(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = error.filename or Path.cwd()
        return f"the disk is full ({where}). Nothing is lost: free some space (`dvc gc -w` drops old results) and run it again."
    if isinstance(error, OSError):
        what = error.strerror or error
        return f"{what} ({error.filename or 'no file named'}). Mend that and run it again; PRIVLLM_DEBUG=1 shows where."
    return str(error)


def explain(message: str) -> None:
    """One paragraph for a person, on stderr."""
    paragraph = " ".join(line.strip() for line in message.split("\n") if line.strip())
    sys.stderr.write(f"\nerror: {printable(paragraph)}\n\n")
    sys.stderr.flush()


def log_duration(stage: str, seconds: float) -> None:
    LOG_FILE.parent.mkdir(exist_ok=True)
    with LOG_FILE.open("a", encoding="utf-8") as log:
        entry = {"stage": stage, "seconds": round(seconds, 3), "peak_mb": peak_mb(), "ended": round(time.time()), **work}
        log.write(json.dumps(entry) + "\n")


def peak_mb() -> int:
    """Most memory that this process, or the largest of those it started and saw end, had resident, in MB."""
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    with suppress(OSError, StopIteration):  # Linux counts what stood here before this program, DVC with all its files, to RUSAGE_SELF
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        own = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return max(own, children) // (1 << 20 if sys.platform == "darwin" else 1 << 10)
