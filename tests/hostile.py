"""Words that a terminal, a chart or a reader would obey rather than show, and what may come out in their place."""

import re

# In order: clear the screen, ring, set the window's title, end a line in four ways, turn words round, isolate them, half a character.
WORDS = (
    *("\x1b[2J", "\x07", "\x1b]0;owned\x07", "\n", "\r", "\u2028", "\u2029"),
    *("\u202e", "\u2066", "\u200f", "\x9b31m", "\x7f", "\x00", "\ufffe", "\udce9"),
)
EVIL = f"evil{''.join(WORDS)}name"
FILE_NAME = EVIL.replace("\x00", "")  # a file can be called so; the surrogate stands for a byte that is no UTF-8
ESCAPED = r"evil\x1b[2J\x07"  # how `EVIL` begins when it is shown
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufffe\ud800-\udfff]"
)


def obeyed(text: str, lines: int | None = None) -> list[str]:
    """What of `text`, as it came out, a terminal would obey; `lines` are those that it should have."""
    found = sorted(set(_OBEYED.findall(text)))
    return found if lines in (None, text.count("\n")) else [*found, f"{text.count(chr(10))} lines"]
