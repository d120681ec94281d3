"""The frame in which every stage runs: checked, offline, timed, with errors for people.

`stages/x.py` ends in `run(main)`. The parameters of `main` are paths, and the `Store` where it uses
one; whatever else it needs, it reads from params.yaml. Durations go to `core.work_paths.LOG_FILE`,
which nothing in the build reads.
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
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import privllm.core.offline  # noqa: F401  (first: it switches telemetry off)
from privllm.core.errors import SeveralFaults, UserError
from privllm.core.missing_library import missing_library
from privllm.core.out_of_memory import explain_shortage, ran_out
from privllm.core.printable import never_fail_to_print, printable
from privllm.core.tables import keep_pandas_out
from privllm.core.work_paths import LOG_FILE
from privllm.engine.fingerprint import check_fingerprint, require_fingerprinted
from privllm.engine.import_guard import require_hashed_code, require_libraries_of_the_environment
from privllm.engine.input_guard import InputGuard
from privllm.engine.params_check import require_sound_params
from privllm.engine.params_guard import record_parameters, require_parameters_as_read
from privllm.engine.pipeline import declared_stage
from privllm.engine.source_guard import require_sources_as_read
from privllm.engine.store import Store, open_store, work_counts

FAILED = 1
MISUSED = 2  # the command line itself is wrong
INTERRUPTED = 130  # as a shell says of a program that SIGINT has ended; `Terminated` has the code of SIGTERM
BROKEN_PIPE = 141  # and of one that SIGPIPE has ended


def run(main: Callable[..., None]) -> None:
    """Call `main` with the command line's paths and leave the process with an exit code.

    A parameter of `main` is a path, a switch (`verify: bool = False` is `--verify`), or `store:
    Store`, the store of this stage.
    """
    never_fail_to_print()
    gc.freeze()  # what was imported stays
    gc.enable()
    stage, words = Path(sys.argv[0]).stem, sys.argv[1:]
    paths = arguments(main, stage, words)
    start = time.perf_counter()

    def action() -> None:
        if takes_store(main):
            main(**paths, store=open_store(stage))
        else:
            main(**paths)

    exit_code = call(lambda: _checked(stage, words, action, start), stage)
    sys.stdout.flush()
    sys.stderr.flush()
    if threading.active_count() == 1:
        os._exit(exit_code)  # tearing the interpreter down takes 0.1 s and helps nobody
    sys.exit(exit_code)


def takes_store(main: Callable[..., None]) -> bool:
    """Return whether a stage uses a store: its `main` then has the parameter `store: Store`."""
    parameter = inspect.signature(main).parameters.get("store")
    return parameter is not None and parameter.annotation is Store


def arguments(main: Callable[..., None], stage: str, words: list[str]) -> dict[str, Any]:
    """Return the paths and switches of `main` from a command line.

    Exit on `--help` and on wrong words.
    """
    description = sys.modules[main.__module__].__doc__
    parser = argparse.ArgumentParser(prog=f"python -m stages.{stage}", description=description)
    for name, parameter in inspect.signature(main).parameters.items():
        if parameter.annotation is Store:
            continue
        if parameter.annotation is bool:
            parser.add_argument(f"--{name}", action="store_true")
        else:
            parser.add_argument(name, type=Path)
    return vars(parser.parse_args(words))


def _checked(stage: str, words: list[str], action: Callable[[], None], start: float) -> None:
    """Run `action` between the checks of code, libraries, parameters and inputs.

    Log how long it took since `start`.
    """
    require_hashed_code(Path())
    require_libraries_of_the_environment()
    require_sound_params()
    if stage != "fingerprint" and "pandas" not in check_fingerprint(stage):
        keep_pandas_out()
    name, declared = declared_stage(stage, words)
    require_sources_as_read(name)
    require_parameters_as_read(name)
    input_guard = InputGuard(declared)
    action()
    require_libraries_of_the_environment()  # again, for much is imported where it is needed
    if stage != "fingerprint":
        require_fingerprinted(stage)
    input_guard.verify()
    record_parameters(declared, input_guard.params)
    log_duration(name, time.perf_counter() - start)


def call(action: Callable[[], object], name: str) -> int:
    """Run `action` and return the exit code.

    An error that people can fix becomes one paragraph on stderr. docs/reference/commands.md has the codes.
    """
    debug = os.environ.get("PRIVLLM_DEBUG") == "1"
    try:
        action()
        return 0
    except KeyboardInterrupt as interrupt:
        progress = f" ({interrupt})" if interrupt.args else ""
        explain(f"{name} was interrupted{progress}. Nothing is lost: run the same command again and it goes on.")
        return getattr(interrupt, "exit_code", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or flushing at the exit would fail once more
        return BROKEN_PIPE
    except (UserError, OSError, MemoryError) as error:
        if debug:
            raise
        if isinstance(error, SeveralFaults):
            explain(f"{name}: {error.summary}", error.lines)
        else:
            explain(f"{name}: {_paragraph(error)}")
        return FAILED
    except Exception as error:
        if not debug and (library := missing_library(error)):
            explain(f"{name}: {library}")
            return FAILED
        if not debug and ran_out(error):  # torch raises a RuntimeError for it
            explain(f"{name}: {_paragraph(error)}")
            return FAILED
        if hasattr(error, "format_message"):  # click's own usage errors
            explain(f"{name}: {error.format_message()}")
            return MISUSED
        if hasattr(error, "exit_code"):  # click's way to leave
            return int(error.exit_code)
        raise


def require_verdict(path: Path) -> None:
    """Raise UserError unless validation's verdict file says that the documents passed."""
    verdict = json.loads(path.read_text("utf-8"))
    if verdict.get("passed") is not True:
        raise UserError(
            f"{path} says that validation failed: open reports/validate/index.html, then fix the documents or `validate`."
        )


def _paragraph(error: Exception) -> str:
    """Return what went wrong and what to do about it."""
    if ran_out(error):
        return explain_shortage(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        full_path = error.filename or Path.cwd()
        return f"the disk is full ({full_path}). Nothing is lost: free some space (`dvc gc -w` drops old results) and run it again."
    if isinstance(error, OSError):
        fault = error.strerror or error
        file = error.filename or "no file named"
        return f"{fault} ({file}). Fix that and run it again; PRIVLLM_DEBUG=1 shows where."
    return str(error)


def explain(message: str, faults: Sequence[str] = ()) -> None:
    """Write one paragraph for a person to stderr, and below it a line for each of the faults."""
    lines = [line.strip() for line in message.split("\n")]
    paragraph = " ".join(line for line in lines if line)
    text = "\n".join(printable(line) for line in (paragraph, *faults))
    sys.stderr.write(f"\nerror: {text}\n\n")
    sys.stderr.flush()


def log_duration(stage: str, seconds: float) -> None:
    """Append a line to the log: what the stage took, and what its maps did."""
    entry = {
        "stage": stage,
        "seconds": round(seconds, 3),
        "peak_mb": peak_mb(),
        "ended": round(time.time()),
        **work_counts,
    }
    LOG_FILE.parent.mkdir(exist_ok=True)
    with LOG_FILE.open("a", encoding="utf-8") as log:
        log.write(json.dumps(entry) + "\n")


def peak_mb() -> int:
    """Return the peak of resident memory in MB, of this process or its largest finished child."""
    own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children_peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # Linux adds to RUSAGE_SELF what the process held before this program started in it: DVC with
    # all its files.
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        own_peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    units_per_mb = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return max(own_peak, children_peak) // units_per_mb
