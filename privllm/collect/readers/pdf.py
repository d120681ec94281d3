"""PDF: the text layer as light Markdown; a page without one is read by tesseract where `collect.ocr` names languages.

A file without any text is quarantined, as `needs_ocr` where nobody asked for that.
"""

from collections.abc import Iterator
from functools import partial
from typing import ClassVar

from privllm.collect.parser_process import parse
from privllm.collect.readers.reader import Read, Reader, Row, read_one
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
        """Yield the document, or why it cannot be read. Raises UserError where PDFium is not installed."""
        if not installed(LIBRARY):
            raise UserError(f"{file.source} is a PDF, but {not_installed(LIBRARY)}")
        yield read_one(file, PDF, partial(_decoded, file.options.ocr))


def _decoded(languages: tuple[str, ...], data: bytes) -> Read:
    parsed = parse("pdf", data, languages)
    return Read(parsed.text, "pdf", parsed.about)
