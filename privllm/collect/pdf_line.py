"""A line of a PDF's page, and the size of a document's letters."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

USUAL_SIZE = 10.0
SMALL = 0.85  # of the size of most letters


class Line(NamedTuple):
    """A line of a page, in points from the lower left corner."""

    text: str
    size: float  # of its letters
    left: float
    right: float
    bottom: float
    top: float
    is_marked: bool = False  # as a heading: it begins with a number such as 5.8.1, in bold, or the outline names it


def body_size(pages: Iterable[list[Line]]) -> float:
    """Return the size of most letters, that of usual print where there are none."""
    letters: Counter[float] = Counter()
    for lines in pages:
        for line in lines:
            letters[round(line.size, 1)] += len(line.text)
    return letters.most_common(1)[0][0] if letters else USUAL_SIZE
