"""Text of a scanned page by tesseract, a program of its own, called without a shell and within a limit of time.

It runs in the process of the parsers (`parser_process`), whose limits of memory and processor seconds it inherits.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from privllm.collect.parsed import NoText

PROGRAM = "tesseract"
RESOLUTION = 300  # dots per inch, for which it was trained
PAGE_SECONDS = 60
MIN_CONFIDENCE = 30  # percent; below it a "word" is a stain or a part of a picture
WORD = "5"  # the level of a row that is a word
PASSED_ON = ("PATH", "TESSDATA_PREFIX", "LD_LIBRARY_PATH")  # of the environment


class OcrLine(NamedTuple):
    """A line of a page, in dots from the upper left corner."""

    text: str
    left: int
    top: int
    right: int
    bottom: int


def lines_of_image(image: bytes, languages: Sequence[str], page: int) -> list[OcrLine]:
    """Return the lines of an image in tesseract's reading order. Raises `NoText` where it crashes or hangs.

    page: its number from 1, for messages.
    """
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment |= {"OMP_THREAD_LIMIT": "1", "LC_ALL": "C.UTF-8"}  # one thread: the others are other files'
    program = shutil.which(PROGRAM) or PROGRAM
    command = [program, "stdin", "stdout", "--dpi", str(RESOLUTION), "-l", "+".join(languages), "tsv"]
    try:
        process = subprocess.run(command, input=image, capture_output=True, timeout=PAGE_SECONDS, env=environment)
    except subprocess.TimeoutExpired:
        raise NoText("too_slow", f"tesseract needs over {PAGE_SECONDS} seconds for page {page}") from None
    except OSError as error:
        raise NoText("ocr_failed", f"tesseract cannot be started: {error.strerror}") from None
    if process.returncode:
        said = process.stderr.decode("utf-8", "replace").strip().splitlines()
        detail = f"tesseract ended with code {process.returncode} on page {page}"
        raise NoText("ocr_failed", f"{detail}: {said[-1][:100]}" if said else detail)
    return list(_lines(process.stdout.decode("utf-8", "replace")))


def _lines(table: str) -> Iterator[OcrLine]:
    """Yield the lines of what tesseract calls TSV: a row for each word, with its block, paragraph and line."""
    words: list[str] = []
    boxes: list[tuple[int, int, int, int]] = []
    current: list[str] = []
    for row in table.splitlines()[1:]:
        fields = row.split("\t")
        if len(fields) != 12 or fields[0] != WORD or float(fields[10]) < MIN_CONFIDENCE or not fields[11].strip():
            continue
        if fields[1:5] != current and words:
            yield _line(words, boxes)
            words, boxes = [], []
        current = fields[1:5]
        left, top, width, height = map(int, fields[6:10])
        words.append(fields[11].strip())
        boxes.append((left, top, left + width, top + height))
    if words:
        yield _line(words, boxes)


def _line(words: list[str], boxes: list[tuple[int, int, int, int]]) -> OcrLine:
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return OcrLine(" ".join(words), min(lefts), min(tops), max(rights), max(bottoms))
