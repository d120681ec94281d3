"""The text of a PDF as light Markdown: paragraphs in reading order, headings by the size of their letters.

PDFium gives characters in the order of the page's content with hyphens at line ends marked; what was
filled in comes from its annotations (`pdf_fields`). Lines
that many pages repeat at their top or bottom, and page numbers, are left out. A page without a
text layer is read by tesseract where languages are named (`ocr`), else it gives nothing, and is named where it is a picture;
a document without any text is `needs_ocr`.

It runs in a process of its own (`parser_process`), for PDFium is C++ and files are anybody's.
"""

import re
from collections.abc import Iterator, Sequence
from ctypes import byref, c_double, c_int, create_string_buffer
from itertools import islice
from typing import Any

from privllm.collect.ocr import RESOLUTION, lines_of_image
from privllm.collect.parsed import NoText, Parsed
from privllm.collect.pdf_fields import Field, fields_of, with_fields
from privllm.collect.pdf_hyphens import HYPHEN, with_hyphens
from privllm.collect.pdf_line import SMALL, Line, body_size
from privllm.collect.pdf_margins import without_margins
from privllm.collect.pdf_notes import with_notes_at_ends
from privllm.collect.pdf_outline import chapters_of, outline_of, with_marked_titles
from privllm.collect.scanned_pages import HOW_TO_READ_SCANS, NEEDS_OCR

MAX_PAGES = 20_000
NO_ERROR = " (PDFium: Success)"  # in errors for which PDFium has no name
MAX_DOTS = 10_000  # of a scanned page's longer side
NUMBERED = re.compile(r"\d+(?:\.\d+)+\.? \S")
MAX_PICTURES = 1_000  # of a page that are looked at
MAX_FORMS = 5  # inside each other
LEAST_PICTURED = 0.25  # of a page
MAX_FONT_NAME = 100  # bytes
BOLD = 600  # of a font's weight, 400 in usual print
HEADING_RATIO = 1.12  # to the size of most letters
MAX_HEADING = 200  # characters
LEVELS = 4  # of headings
DATE = re.compile(r"D:(\d{4})(\d\d)(\d\d)")
LEADER = re.compile(r"(?: ?\.){5,} ?\w{0,6}$")  # dots between an entry of a table of contents and its page
SENTENCE_END = (".", "!", "?", ":", ";", "\u3002", '"', "\u201d")
BULLET = re.compile(r"^(?:[\u2022\u25cf\u25aa\u25e6\u2219\u00b7\u25a0\uf0b7\u2013-]|\(?\d{1,3}[.)]|\(?[a-z][.)]) ")


def pdf_text(data: bytes, languages: Sequence[str] = ()) -> Parsed:
    """Return the text of a PDF, by OCR where a page has none and `languages` are named. Raises `NoText`."""
    import pypdfium2
    from pypdfium2 import raw

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise NoText("encrypted", "a password is needed: save it without one") from None
        raise NoText("damaged", str(error).replace(NO_ERROR, "")[:200]) from None
    try:
        if len(document) > MAX_PAGES:
            raise NoText("too_large", f"over {MAX_PAGES} pages: split it")
        document.init_forms()
        read = [_read_page(document, number, raw) for number in range(len(document))]
        pages = [lines for lines, _ in read]
        without_text = [number for number, lines in enumerate(pages) if not lines]
        scanned = without_text if languages else []
        unread = [] if languages else [number + 1 for number in without_text if _is_picture(document, number, raw)]
        for number in scanned:
            pages[number] = _scanned_lines(document, number, languages)
        metadata = document.get_metadata_dict()
        outline = outline_of(document)
    finally:
        document.close()
    if not any(pages) and not any(fields for _, fields in read):
        raise NoText(*_no_text(len(pages), languages))
    size = body_size(page for number, page in enumerate(pages) if number not in scanned)
    for number in scanned:
        pages[number] = [line._replace(size=size) for line in pages[number]]
    printed = with_marked_titles(without_margins(pages), outline)
    marked = [with_fields(lines, fields, size) for lines, (_, fields) in zip(printed, read, strict=True)]
    text = with_hyphens("\n\n".join(_blocks(_without_marks(with_notes_at_ends(marked, chapters_of(outline))))))
    title, author = (_one_line(metadata.get(key, "")) for key in ("Title", "Author"))
    return Parsed(text, title, author, _day(metadata.get("CreationDate", "")), unread)


def _no_text(pages: int, languages: Sequence[str]) -> tuple[str, str]:
    """Return reason and detail of a document without any text."""
    if languages:
        return "empty", f"tesseract finds no text on its {pages} pages"
    return NEEDS_OCR, f"none of its {pages} pages has a text layer: {HOW_TO_READ_SCANS}"


def _is_picture(document: Any, number: int, raw: Any) -> bool:
    """Return whether pictures cover a good part of a page, as a scan does; a blank page needs no OCR."""
    from pypdfium2 import PdfiumError

    try:
        page = document[number]
        pictures = islice(page.get_objects([raw.FPDF_PAGEOBJ_IMAGE], max_depth=MAX_FORMS), MAX_PICTURES)
        bounds = [picture.get_bounds() for picture in pictures]
        area = page.get_width() * page.get_height()
        page.close()
    except PdfiumError:
        return False
    return sum((right - left) * (top - bottom) for left, bottom, right, top in bounds) >= LEAST_PICTURED * area > 0


def _scanned_lines(document: Any, number: int, languages: Sequence[str]) -> list[Line]:
    """Return the lines that tesseract reads on a page; their size is not known. Raises `NoText`."""
    from pypdfium2 import PdfiumError

    try:
        page = document[number]
        points = max(page.get_width(), page.get_height())
        scale = min(RESOLUTION / 72, MAX_DOTS / max(points, 1.0))
        bitmap = page.render(scale=scale, grayscale=True)
    except PdfiumError:
        return []
    image = _portable_graymap(bytes(bitmap.buffer), bitmap.width, bitmap.height, bitmap.stride)
    height = bitmap.height
    bitmap.close()
    page.close()
    lines = []
    for text, left, top, right, bottom in lines_of_image(image, languages, number + 1):
        edges = (left / scale, right / scale, (height - bottom) / scale, (height - top) / scale)
        lines.append(Line(text, 0.0, *edges))
    return lines


def _portable_graymap(dots: bytes, width: int, height: int, stride: int) -> bytes:
    rows = [dots[row * stride : row * stride + width] for row in range(height)]
    return b"P5 %d %d 255\n" % (width, height) + b"".join(rows)


def _read_page(document: Any, number: int, raw: Any) -> tuple[list[Line], list[Field]]:
    """Return the lines of a page that are not blank, in reading order, and what was filled in; none where the page is damaged."""
    from pypdfium2 import PdfiumError

    try:
        page = document[number]
        text_page = page.get_textpage()
    except PdfiumError:
        return [], []
    text = text_page.get_text_range()
    lines: list[Line] = []
    begin = 0
    for piece in text.split("\n"):
        words = piece.rstrip("\r")
        if words.strip():
            line = _measured(words, begin, text_page.raw, raw)
            if lines and _is_beside(lines[-1], line):
                line = _merged(lines.pop(), line)
            lines.append(line)
        begin += len(piece) + 1
    text_page.close()
    fields = fields_of(document, page, raw)
    page.close()
    return lines, fields


def _measured(words: str, begin: int, text_page: Any, raw: Any) -> Line:
    """Return a line with the place of its first and last letter."""
    first = begin + len(words) - len(words.lstrip())
    last = begin + len(words.rstrip()) - 1
    left, right, _, top = _box(text_page, first, raw)
    _, last_right, bottom, _ = _box(text_page, last, raw)  # lower, where two lines were joined at a hyphen
    middle = (first + last) // 2
    size = max(raw.FPDFText_GetFontSize(text_page, first), raw.FPDFText_GetFontSize(text_page, middle))
    text = LEADER.sub("", " ".join(words.replace("\u00ad", "").split()))
    is_bold = NUMBERED.match(text) is not None and _is_bold(text_page, first, middle, raw)
    # A size of 1 stands in for one that the page's matrix holds.
    return Line(text, size if size > 2 else top - bottom, left, max(right, last_right), bottom, top, is_bold)


def _is_bold(text_page: Any, first: int, middle: int, raw: Any) -> bool:
    """Return whether a letter is bold, of two: a name in a heading may be in other print."""
    for place in (first, middle):
        name = create_string_buffer(MAX_FONT_NAME)
        raw.FPDFText_GetFontInfo(text_page, place, name, MAX_FONT_NAME, byref(c_int()))
        # The fonts that every viewer has are given no weight.
        if b"bold" in name.value.lower() or raw.FPDFText_GetFontWeight(text_page, place) >= BOLD:
            return True
    return False


def _is_beside(before: Line, line: Line) -> bool:
    """Return whether a piece goes on at the height where another ends, such as an exponent."""
    height = min(before.top - before.bottom, line.top - line.bottom)
    overlap = min(before.top, line.top) - max(before.bottom, line.bottom)
    gap = line.left - before.right
    return overlap > 0.3 * height > 0 and -0.3 * before.size < gap < before.size


def _merged(before: Line, line: Line) -> Line:
    """Return two pieces of one line as a line."""
    separator = "" if line.left - before.right < 0.15 * before.size else " "
    return Line(
        f"{before.text}{separator}{line.text}",
        max(before.size, line.size),
        before.left,
        line.right,
        min(before.bottom, line.bottom),
        max(before.top, line.top),
        before.is_marked,
    )


def _box(text_page: Any, index: int, raw: Any) -> tuple[float, float, float, float]:
    """Return left, right, bottom, top of a character; zeros where it has no place."""
    edges = [c_double() for _ in range(4)]
    if not raw.FPDFText_GetCharBox(text_page, index, *edges):
        return 0.0, 0.0, 0.0, 0.0
    left, right, bottom, top = (edge.value for edge in edges)
    return left, right, bottom, top


def _without_marks(pages: list[list[Line]]) -> list[list[Line]]:
    """Return pages without the numbers of footnotes that stand alone, in small print."""
    small = SMALL * body_size(pages)
    return [[line for line in lines if line.size >= small or not line.text.isdecimal()] for lines in pages]


def _blocks(pages: list[list[Line]]) -> Iterator[str]:
    """Yield headings and paragraphs."""
    sizes = _heading_sizes(pages)
    paragraph: list[Line] = []
    for lines in pages:
        is_first = True
        for line in lines:
            level = _level(line, sizes) if len(line.text) <= MAX_HEADING else 0
            goes_on = paragraph and _goes_on(paragraph[-1], line, is_first)
            if level != (_level(paragraph[-1], sizes) if paragraph else 0):
                goes_on = False
            if paragraph and not goes_on:
                yield _joined(paragraph, sizes)
                paragraph = []
            paragraph.append(line)
            is_first = False
    if paragraph:
        yield _joined(paragraph, sizes)


def _heading_sizes(pages: list[list[Line]]) -> dict[float, int]:
    """Return the level of headings, from 1, by the size of their letters."""
    body = body_size(pages)
    letters = {round(line.size, 1) for lines in pages for line in lines}
    larger = sorted((size for size in letters if size > body * HEADING_RATIO), reverse=True)
    return {size: min(level, LEVELS) for level, size in enumerate(larger, 1)}


def _level(line: Line, sizes: dict[float, int]) -> int:
    """Return the level of a heading, 0 for another line. One in the size of the text is below all that are larger."""
    level = sizes.get(round(line.size, 1), 0)
    return min(max(sizes.values(), default=0) + 1, LEVELS) if line.is_marked and not level else level


def _goes_on(before: Line, line: Line, is_new_page: bool) -> bool:
    """Return whether a line belongs to the paragraph of the line before it."""
    if BULLET.match(line.text) or abs(before.size - line.size) > 0.15 * before.size:
        return False
    if is_new_page:
        return not before.text.endswith(SENTENCE_END) and line.text[:1].islower()
    gap = before.bottom - line.top
    if gap < -before.size:  # upwards: the next column
        return not before.text.endswith(SENTENCE_END) and line.text[:1].islower()
    is_indented = line.left - before.left > 0.8 * line.size and before.text.endswith(SENTENCE_END)
    return gap < 0.9 * max(line.size, 1.0) and not is_indented


def _joined(lines: list[Line], sizes: dict[float, int]) -> str:
    """Return a paragraph, or a heading with its mark."""
    text = lines[0].text
    for line in lines[1:]:
        if text.endswith("-") and not text.endswith(" -") and line.text[:1].islower():
            text = text[:-1] + HYPHEN + line.text
        elif text.endswith("-") and text[-2:-1].isdigit() and line.text[:1].isdigit():
            text += line.text
        else:
            text = f"{text} {line.text}"
    level = _level(lines[0], sizes)
    if level and len(text) <= MAX_HEADING and any(character.isalpha() for character in text):
        return f"{'#' * level} {text}"
    bullet = BULLET.match(text)
    if bullet and not bullet[0][0].isalnum() and bullet[0][0] != "(":
        return f"- {text[bullet.end() :]}"
    return text


def _day(date: str) -> str:
    """Return the day of a PDF's date, such as "D:20261126042300Z"."""
    found = DATE.match(date)
    return "-".join(found.groups()) if found else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
