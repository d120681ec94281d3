"""Out-of-memory errors of this machine or the GPU.

They are recognised, and explained with the parameters that need less memory.

torch raises a RuntimeError, CUDA a subclass of it; both are recognised by name and message, for
torch is not imported here.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from privllm.core.errors import UserError

WORDS = re.compile(
    r"DefaultCPUAllocator: (?:can't allocate|not enough) memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED"
    r"|MPS backend out of memory|std::bad_alloc|Cannot allocate memory \(os error 12\)"
)
REQUESTED_AMOUNT = re.compile(r"tried to allocate ([\d.]+) ?(bytes|[KMGT]iB)", re.IGNORECASE)


def ran_out(error: BaseException) -> bool:
    """Return whether `error` says that memory ran out."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    if isinstance(error, UserError):
        return False
    class_names = {kind.__name__ for kind in type(error).__mro__}
    return "OutOfMemoryError" in class_names or bool(WORDS.search(str(error)))


def explain_shortage(error: BaseException, knobs: str = "") -> str:
    """Return one paragraph for people.

    It says whose memory ran out, how much was requested if the error says so, and what needs less.
    """
    text = f"{type(error).__name__} {error}"
    is_of_gpu = any(word in text for word in ("CUDA", "CUBLAS", "MPS"))
    memory = "the GPU's memory" if is_of_gpu else "memory"
    remedy = knobs or "Close other programs"
    return f"{memory} ran out{_requested_amount(text)}. What was finished or saved before is kept. {remedy}, and run it again."


def _requested_amount(text: str) -> str:
    """Return " (a piece of 1.50 GB was asked for)", "" where the error does not say how much."""
    match = REQUESTED_AMOUNT.search(text)
    if not match:
        return ""
    number, unit = match.groups()
    power = "bKMGT".index(unit[0].replace("B", "b"))
    requested_bytes = float(number) * 1024**power
    return f" (a piece of {requested_bytes / 1e9:,.2f} GB was asked for)"


@contextmanager
def shortage_explained(knobs: str) -> Iterator[None]:
    """Raise a UserError that proposes `knobs` where memory runs out in the block.

    Other errors pass.
    """
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        raise UserError(explain_shortage(error, knobs)) from error
