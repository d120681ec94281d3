"""PDFs made by hand, for tests: each page is a list of (x, y, size, text)."""

import zlib
from collections.abc import Sequence

BOLD = "**"
Piece = tuple[float, float, float, str]


def pdf_of(*pages: Sequence[Piece], title: str = "", annotations: Sequence[str] = ()) -> bytes:
    """Return a PDF with these pages, its letters in Helvetica, those of a text that begins with "**" in bold.

    Annotations, the inside of each one's dictionary, are those of every page, and such as have a name (/T) fields of a form.
    """
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", "", *(f"<< /Type /Annot {inside} >>" for inside in annotations)]
    numbers = [(f"{number} 0 R", inside) for number, inside in enumerate(annotations, 3)]
    fields = " ".join(number for number, inside in numbers if "/T " in inside)
    if fields:
        objects[0] = f"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [{fields}] >> >>"
    shown = f"/Annots [{' '.join(number for number, _ in numbers)}]"
    kids = []
    for pieces in pages:
        content = " ".join(_shown(*piece) for piece in pieces)
        objects.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
        kind = "/Type /Font /Subtype /Type1 /Encoding /WinAnsiEncoding /BaseFont /Helvetica"
        resources = f"<< /Font << /F1 << {kind} >> /F2 << {kind}-Bold >> >> >>"
        page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents {len(objects)} 0 R /Resources {resources} {shown} >>"
        objects.append(page)
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    objects.append(f"<< /Title ({_escaped(title)}) /CreationDate (D:20261126042300Z) >>")
    return _file_of([text.encode("cp1252") for text in objects])


def _shown(x: float, y: float, size: float, text: str) -> str:
    font = "F2" if text.startswith(BOLD) else "F1"
    return f"BT /{font} {size} Tf {x} {y} Td ({_escaped(text.removeprefix(BOLD))}) Tj ET"


def column(lines: Sequence[str], x: float = 50, top: float = 700, size: float = 10) -> list[Piece]:
    """Return lines below each other."""
    return [(x, top - 12 * number, size, line) for number, line in enumerate(lines)]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


def scanned(data: bytes, dpi: int = 200) -> bytes:
    """Return a PDF whose pages are pictures of those of `data`, as a scanner makes it."""
    import pypdfium2

    objects: list[bytes] = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    kids = []
    for page in pypdfium2.PdfDocument(data):
        bitmap = page.render(scale=dpi / 72, grayscale=True)
        width, height, stride, dots = bitmap.width, bitmap.height, bitmap.stride, bytes(bitmap.buffer)
        packed = zlib.compress(b"".join(dots[row * stride : row * stride + width] for row in range(height)))
        kind = "/Type /XObject /Subtype /Image /ColorSpace /DeviceGray /BitsPerComponent 8 /Filter /FlateDecode"
        head = f"<< {kind} /Width {width} /Height {height} /Length {len(packed)} >>\nstream\n"
        objects.append(head.encode() + packed + b"\nendstream")
        content = b"q 600 0 0 800 0 0 cm /I Do Q"
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
        place = len(objects)
        resources = f"<< /XObject << /I {place - 1} 0 R >> >>"
        text = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents {place} 0 R /Resources {resources} >>"
        objects.append(text.encode())
        kids.append(f"{place + 1} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    return _file_of(objects)


def joined(*files: bytes) -> bytes:
    """Return one PDF with the pages of several."""
    import io

    import pypdfium2

    target = pypdfium2.PdfDocument.new()
    for data in files:
        target.import_pages(pypdfium2.PdfDocument(data))
    out = io.BytesIO()
    target.save(out)
    return out.getvalue()


def _file_of(objects: Sequence[bytes]) -> bytes:
    """Return numbered objects as a PDF, the first of them its catalogue, the last what it says of itself."""
    body, places = b"%PDF-1.7\n", []
    for number, data in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, data)
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    trailer = f"trailer << /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>"
    xref = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{trailer}\nstartxref\n{len(body)}\n%%EOF\n"
    return body + xref.encode()
