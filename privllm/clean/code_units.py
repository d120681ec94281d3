"""Looking up all characters of a text in a table at once, by NumPy, instead of searching it by a pattern.

A character of the basic plane is one 16-bit unit of UTF-16, its own code point. One beyond it is two units, both surrogates, which do
not tell which character it is: a table says of surrogates what may be true of any of these characters.
"""

import numpy as np
import numpy.typing as npt

UNITS = 1 << 16  # rows of a table
SURROGATES = slice(0xD800, 0xE000)


def units_of(text: str) -> npt.NDArray[np.uint16]:
    """Return the UTF-16 units of a text."""
    return np.frombuffer(text.encode("utf-16-le", "surrogatepass"), "<u2")
