"""Memory that ran out, on this machine or on the GPU: told from other errors, and explained with the knobs that need less.

torch says it by a RuntimeError, CUDA by a subclass of that; both are known here by their name and words, for torch is not imported.
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
ASKED = re.compile(r"tried to allocate ([\d.]+) ?(bytes|[KMGT]iB)", re.IGNORECASE)


def ran_out(error: BaseException) -> bool:
    """Whether `error` says that memory ran out."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    if isinstance(error, UserError):
        return False
    return any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__) or bool(WORDS.search(str(error)))


def explain_shortage(error: BaseException, knobs: str = "") -> str:
    """One paragraph: whose memory, how much was asked for where the error says it, and what needs less."""
    text = f"{type(error).__name__} {error}"
    whose = "the GPU's memory" if "CUDA" in text or "CUBLAS" in text or "MPS" in text else "memory"
    found = ASKED.search(text)
    amount = ""
    if found:
        bytes_asked = float(found[1]) * 1024 ** ("bKMGT".index(found[2][0].replace("B", "b")))
        amount = f" (a piece of {bytes_asked / 1e9:,.2f} GB was asked for)"
    return f"{whose} ran out{amount}. What was finished or saved before is kept. {knobs or 'Close other programs'}, and run it again."


@contextmanager
def shortage_explained(knobs: str) -> Iterator[None]:
    """Make a UserError of memory that runs out in the block, which says to do what `knobs` say; other errors pass."""
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        raise UserError(explain_shortage(error, knobs)) from error
