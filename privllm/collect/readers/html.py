"""HTML pages: one document a file, with its markup, which `clean` turns into text."""

from collections.abc import Iterator
from typing import ClassVar

from privllm.collect.decode import decode
from privllm.collect.page_head import about_page
from privllm.collect.readers.reader import Read, Reader, Row, read_one
from privllm.collect.source_file import SourceFile

MEDIA_TYPE = "text/html"


class HtmlReader(Reader):
    """Pages in HTML or XHTML; the encoding may be declared in a `<meta>` or an XML declaration."""

    media_types: ClassVar = dict.fromkeys((".html", ".htm", ".xhtml"), MEDIA_TYPE)
    holds_many = False

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[Row]:
        """Yield the page, or why it cannot be read."""
        yield read_one(file, MEDIA_TYPE, _decoded)


def _decoded(data: bytes) -> Read:
    decoded = decode(data, markup=True)
    return Read(decoded.text, decoded.encoding, about_page(decoded.text))
