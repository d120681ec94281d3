"""A process of its own for parsers of binary formats: a crash, a hang or a flood of memory costs one file.

The process is started with the first file and used for all; where it ends, the next file gets a new
one. Its memory and its seconds of CPU for each file are limited by the kernel. Requests and answers
are JSON behind their length; the bytes of a file follow their request.
"""

import atexit
import json
import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple

from privllm.collect.documents import Unreadable
from privllm.collect.latex_text import latex_text
from privllm.collect.office_text import office_text
from privllm.collect.parquet_footer import parquet_footer
from privllm.collect.parsed import NoText, Parsed
from privllm.collect.pdf_text import pdf_text

PARSERS: dict[str, Callable[..., Parsed]] = {
    "pdf": pdf_text,
    "office": office_text,
    "latex": latex_text,
    "parquet": parquet_footer,
}
CPU_SECONDS = 60  # for each file
MEMORY = 4 << 30  # bytes of address space
FRAME = struct.Struct(">I")
MAX_FRAME = 1 << 30  # bytes of a request or an answer


class _Child(NamedTuple):
    process: subprocess.Popen[bytes]
    owner: int  # the process that started it; a fork of that must not use it


class _TooLong(Exception):
    """An answer is over the limit."""


_child: _Child | None = None


def parse(parser: str, data: bytes, *arguments: Any) -> Parsed:
    """Return what a parser of PARSERS makes of a file, and of `arguments` that JSON can hold. Raises `Unreadable`."""
    child = _started()
    assert child.stdin
    assert child.stdout
    fields = {"parser": parser, "arguments": arguments, "bytes": len(data), "cpu_seconds": CPU_SECONDS}
    request = json.dumps(fields).encode()
    try:
        child.stdin.write(FRAME.pack(len(request)) + request)
        child.stdin.write(data)
        child.stdin.flush()
        answer = _read_frame(child.stdout)
    except _TooLong:
        _end_of(child)
        raise Unreadable("too_much", f"its text and what it says of itself are over {MAX_FRAME:,} bytes") from None
    except OSError:
        answer = None
    if answer is None:
        raise Unreadable(*_end_of(child))
    parsed = json.loads(answer)
    if "reason" in parsed:
        raise Unreadable(parsed["reason"], parsed["detail"])
    return Parsed(**parsed)


def _started() -> subprocess.Popen[bytes]:
    """Return the running child of this process."""
    global _child
    if _child is None or _child.owner != os.getpid() or _child.process.poll() is not None:
        command = [sys.executable, "-P", "-m", "privllm.collect.parser_process"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        _child = _Child(process, os.getpid())
        atexit.register(_stop, _child)
    return _child.process


def _stop(child: _Child) -> None:
    """End a child, which does so by itself when its input ends."""
    if child.owner == os.getpid() and child.process.poll() is None:
        with suppress(OSError):
            child.process.kill()
        child.process.wait()


def _end_of(child: subprocess.Popen[bytes]) -> tuple[str, str]:
    """Wait for a child that gives no answer; return reason and detail for the file that it was parsing."""
    child.kill()
    code = child.wait()
    if code == -signal.SIGXCPU:
        return "too_slow", f"its parser needs over {CPU_SECONDS} seconds"
    return "crashed", f"its parser ended with code {code}"


def _read_frame(stream: Any) -> bytes | None:
    """Return the next frame, None at the end of the stream. Raises `_TooLong` for one over `MAX_FRAME`."""
    head = stream.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    (size,) = FRAME.unpack(head)
    if size > MAX_FRAME:
        raise _TooLong
    data: bytes = stream.read(size)
    return data if len(data) == size else None


def main(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer requests until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while request := _read_frame(source):
        fields = json.loads(request)
        data = source.read(fields["bytes"])
        _allow_cpu(fields["cpu_seconds"])
        answer = json.dumps(_answer(fields["parser"], data, fields["arguments"])).encode()
        sink.write(FRAME.pack(len(answer)) + answer)
        sink.flush()


def _allow_cpu(seconds: float) -> None:
    """Let this process use so many more seconds of CPU; the kernel ends it after them (SIGXCPU)."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    total = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (total, resource.RLIM_INFINITY))


def _answer(parser: str, data: bytes, arguments: list[Any]) -> dict[str, Any]:
    """Return the fields of `Parsed`, or reason and detail of a refusal."""
    try:
        return PARSERS[parser](data, *arguments)._asdict()
    except NoText as refusal:
        return {"reason": refusal.reason, "detail": refusal.detail}
    except MemoryError:
        return {"reason": "too_large", "detail": f"its parser needs over {MEMORY >> 30} GiB of memory"}
    except ModuleNotFoundError:
        raise
    except Exception as error:  # whatever a library raises for a file that is damaged
        return {"reason": "damaged", "detail": f"{type(error).__name__}: {error}"[:200]}


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
