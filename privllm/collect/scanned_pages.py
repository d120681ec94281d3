"""Scanned pages of a document that has text on others, where nobody asked for OCR: one row of the quarantine a file, which counts them.

One for each page would outweigh the documents, by whose number `validate` judges what was left out.
"""

import re
from collections.abc import Iterable, Sequence

from privllm.collect.documents import Quarantined
from privllm.collect.source_file import SourceFile

KEY = "scanned pages"  # of the row inside its file
NEEDS_OCR = "needs_ocr"
HOW_TO_READ_SCANS = (
    "name the languages of scanned pages in collect.ocr, such as [eng], or run OCR (such as ocrmypdf) on the file"
)
MOST_NAMED = 20  # runs of pages
COUNT = re.compile(r"(\d+) of its pages ")


def row_of(file: SourceFile, pages: Sequence[int]) -> Quarantined:
    """Return the row of the scanned `pages` (numbers from 1, ascending) of a file."""
    verb = "has" if len(pages) == 1 else "have"
    detail = f"{len(pages)} of its pages {verb} no text layer ({_named(pages)}): {HOW_TO_READ_SCANS}"
    return Quarantined(file.source_inside(KEY), "", 0, NEEDS_OCR, detail)


def count_in(details: Iterable[str]) -> int:
    """Return how many pages the rows with these details are of."""
    matches = (COUNT.match(detail) for detail in details)
    return sum(int(match[1]) for match in matches if match)


def _named(pages: Sequence[int]) -> str:
    """Return numbers as a list such as "2, 4-9"."""
    runs: list[list[int]] = []
    for page in pages:
        if runs and runs[-1][-1] == page - 1:
            runs[-1][1:] = [page]
        else:
            runs.append([page])
    named = ["-".join(map(str, run)) for run in runs[:MOST_NAMED]]
    return ", ".join(named + ["..."] * (len(runs) > MOST_NAMED))
