"""HTML pages: one document a file, with its markup, which `clean` turns into text."""

from collections.abc import Iterator
from functools import partial
from typing import ClassVar

from privllm.collect.decode import decode
from privllm.collect.readers.reader import Reader, Row, read_one
from privllm.collect.source_file import SourceFile

MEDIA_TYPE = "text/html"


class HtmlReader(Reader):
    """Pages in HTML or XHTML; the encoding may be declared in a `<meta>` or an XML declaration."""

    media_types: ClassVar = dict.fromkeys((".html", ".htm", ".xhtml"), MEDIA_TYPE)
    holds_many = False

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[Row]:
        """Yield the page, or why it cannot be read."""
        yield read_one(file, MEDIA_TYPE, partial(decode, markup=True))
