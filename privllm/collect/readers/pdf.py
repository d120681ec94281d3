"""PDF: the text layer as light Markdown; a page without one is read by tesseract where `collect.ocr` names languages.

A file without any text is quarantined, as `needs_ocr` where nobody asked for that, and so are the scanned pages of a file with
text on others, as `report.pdf#scanned pages`.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from privllm.collect.documents import CollectedDocument
from privllm.collect.parser_process import parse
from privllm.collect.readers.reader import Read, Reader, Row, read_one
from privllm.collect.scanned_pages import row_of
from privllm.collect.source_file import SourceFile
from privllm.core.errors import UserError
from privllm.core.missing_library import installed, not_installed

PDF = "application/pdf"
LIBRARY = "pypdfium2"


class PdfReader(Reader):
    """PDF files."""

    media_types: ClassVar = {".pdf": PDF}
    holds_many = False
    signatures = (b"%PDF-",)

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[Row]:
        """Yield the document and its pages that need OCR, or why it cannot be read. Raises UserError where PDFium is not installed."""
        if not installed(LIBRARY):
            raise UserError(f"{file.source} is a PDF, but {not_installed(LIBRARY)}")
        parsing = _Parsing(file.options.ocr)
        row = read_one(file, PDF, parsing.read)
        yield row
        if isinstance(row, CollectedDocument) and parsing.scans:
            yield row_of(file, parsing.scans)


class _Parsing:
    """The parsing of one file, which keeps the numbers of the pages that were not read."""

    def __init__(self, languages: tuple[str, ...]) -> None:
        self.languages = languages
        self.scans: Sequence[int] = ()

    def read(self, data: bytes) -> Read:
        parsed = parse("pdf", data, self.languages)
        self.scans = parsed.scans
        return Read(parsed.text, "pdf", parsed.about)
