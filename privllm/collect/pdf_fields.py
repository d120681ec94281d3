"""What people filled in on the pages of a PDF: text fields, choices, ticked boxes, and texts that were typed onto a page.

PDFium does not count them to a page's text, for they are annotations. A value stands behind the label on its left, a ticked box
before that on its right, and what has none where its place on the page is. Passwords, hidden fields and comments are left out.
"""

from collections.abc import Callable, Iterator
from ctypes import byref, c_ushort
from typing import Any, NamedTuple

from privllm.collect.pdf_line import Line

MAX_ANNOTATIONS = 10_000  # of a page that are looked at
MAX_VALUE = 1 << 20  # bytes of a value, in UTF-16
MAX_OPTIONS = 1_000  # of a choice that are looked at
HIDDEN = 1 << 1 | 1 << 5  # of an annotation's flags: hidden, not for the screen
PASSWORD = 1 << 13  # of a field's flags
TICKED = "[x]"
SAME_HEIGHT = 0.5  # of the lower one of two that stand beside each other


class Field(NamedTuple):
    """A value on a page, in points from the lower left corner."""

    text: str  # of one line or several
    left: float
    right: float
    bottom: float
    top: float


def fields_of(document: Any, page: Any, raw: Any) -> list[Field]:
    """Return what was filled in on a page, from its top."""
    found = [
        _field(document, page, number, raw) for number in range(min(MAX_ANNOTATIONS, raw.FPDFPage_GetAnnotCount(page)))
    ]
    return sorted((field for field in found if field), key=lambda field: (-field.top, field.left))


def with_fields(lines: list[Line], fields: list[Field], size: float) -> list[Line]:
    """Return the lines of a page with its values, those without a label in letters of a size."""
    lines = list(lines)
    for field in fields:
        label = _label_of(lines, field)
        if label is None:
            place = _place_of(lines, field)
            height = (field.top - field.bottom) / max(1, field.text.count("\n") + 1)
            for number, text in enumerate(field.text.split("\n")):
                top = field.top - number * height
                lines.insert(place + number, Line(text, size, field.left, field.right, top - height, top))
        else:
            line = lines[label]
            value = " ".join(field.text.split())
            is_before = field.text == TICKED and field.left < line.left
            text = f"{value} {line.text}" if is_before else f"{line.text} {value}"
            left, right = min(line.left, field.left), max(line.right, field.right)
            lines[label] = line._replace(text=text, left=left, right=right)
    return lines


def _label_of(lines: list[Line], field: Field) -> int | None:
    """Return the number of the line that a value belongs to: the nearest at its height, before it, or behind a ticked box."""
    beside = {number: _gap(line, field) for number, line in enumerate(lines) if _is_at_height(line, field)}
    if field.text == TICKED:
        gaps = {number: abs(gap) for number, gap in beside.items()}
        behind = {number: gap for number, gap in gaps.items() if lines[number].left >= field.left}
        gaps = behind or gaps
    else:
        gaps = {number: gap for number, gap in beside.items() if gap >= 0}
    return min(gaps, key=lambda number: gaps[number]) if gaps else None


def _gap(line: Line, field: Field) -> float:
    """Return how far right of a line's end a value begins; below 0 where it begins left of that."""
    if line.left >= field.left:
        return min(-1.0, field.right - line.left)
    return max(0.0, field.left - line.right)


def _is_at_height(line: Line, field: Field) -> bool:
    overlap = min(line.top, field.top) - max(line.bottom, field.bottom)
    return overlap > SAME_HEIGHT * min(line.top - line.bottom, field.top - field.bottom) > 0


def _place_of(lines: list[Line], field: Field) -> int:
    """Return before which line a value stands: behind the last one above it that is in its column, else before the first below it."""
    above = [
        number
        for number, line in enumerate(lines)
        if line.bottom >= field.top - 1 and line.left < field.right and field.left < line.right
    ]
    if above:
        return above[-1] + 1
    below = (number for number, line in enumerate(lines) if line.top <= field.bottom + 1)
    return next(below, len(lines))


def _field(document: Any, page: Any, number: int, raw: Any) -> Field | None:
    """Return what an annotation shows on the page, None where that is nothing that somebody wrote."""
    annotation = raw.FPDFPage_GetAnnot(page, number)
    if not annotation:
        return None
    try:
        kind = raw.FPDFAnnot_GetSubtype(annotation)
        if kind not in (raw.FPDF_ANNOT_WIDGET, raw.FPDF_ANNOT_FREETEXT) or raw.FPDFAnnot_GetFlags(annotation) & HIDDEN:
            return None
        if kind == raw.FPDF_ANNOT_FREETEXT:
            text = _string(lambda buffer, size: raw.FPDFAnnot_GetStringValue(annotation, b"Contents", buffer, size))
        else:
            text = _value(document.formenv, annotation, raw) if document.formenv else ""
        edges = raw.FS_RECTF()
        raw.FPDFAnnot_GetRect(annotation, byref(edges))
    finally:
        raw.FPDFPage_CloseAnnot(annotation)
    kept = "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())
    return Field(kept, edges.left, edges.right, edges.bottom, edges.top) if kept else None


def _value(form: Any, annotation: Any, raw: Any) -> str:
    """Return the value of a field as it is shown."""
    kind = raw.FPDFAnnot_GetFormFieldType(form, annotation)
    if kind in (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON):
        return TICKED if raw.FPDFAnnot_IsChecked(form, annotation) else ""
    if kind not in (raw.FPDF_FORMFIELD_TEXTFIELD, raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX):
        return ""
    if kind == raw.FPDF_FORMFIELD_TEXTFIELD and raw.FPDFAnnot_GetFormFieldFlags(form, annotation) & PASSWORD:
        return ""
    chosen = ", ".join(filter(None, _chosen(form, annotation, raw)))
    return chosen or _string(lambda buffer, size: raw.FPDFAnnot_GetFormFieldValue(form, annotation, buffer, size))


def _chosen(form: Any, annotation: Any, raw: Any) -> Iterator[str]:
    """Yield the options that are chosen, as people see them."""
    for option in range(min(MAX_OPTIONS, raw.FPDFAnnot_GetOptionCount(form, annotation))):
        if raw.FPDFAnnot_IsOptionSelected(form, annotation, option):
            yield _string(
                lambda buffer, size, option=option: raw.FPDFAnnot_GetOptionLabel(form, annotation, option, buffer, size)
            )


def _string(ask: Callable[..., int]) -> str:
    """Return a string that PDFium writes into a buffer and says the bytes of, with the two of its end."""
    size = min(ask(None, 0), MAX_VALUE)
    if size <= 2:
        return ""
    buffer = (c_ushort * (size // 2))()
    ask(buffer, size)
    return bytes(buffer)[: size - 2].decode("utf-16-le", "replace")
