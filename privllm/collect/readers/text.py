"""Plain text and Markdown: one document a file, read as it is; what Markdown says of itself is noted beside it.

Of plain text, tables that are drawn with cells over several lines become tables of Markdown.
"""

from collections.abc import Iterator
from typing import ClassVar

from privllm.collect.decode import Decoded, decode
from privllm.collect.drawn_tables import with_drawn_tables
from privllm.collect.markdown_head import about_markdown
from privllm.collect.readers.reader import Read, Reader, Row, read_one, suffix_of
from privllm.collect.source_file import SourceFile

MARKDOWN = "text/markdown"


class TextReader(Reader):
    """Text files in any encoding that `decode` recognises."""

    media_types: ClassVar = {
        ".txt": "text/plain",
        ".text": "text/plain",
        ".md": MARKDOWN,
        ".markdown": MARKDOWN,
    }
    holds_many = False

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[Row]:
        """Yield the text, or why it cannot be read."""
        media_type = self.media_types.get(suffix_of(file.name), "text/plain")
        yield read_one(file, media_type, _marked_up if media_type == MARKDOWN else _plain)


def _plain(data: bytes) -> Decoded:
    decoded = decode(data)
    return decoded._replace(text=with_drawn_tables(decoded.text))


def _marked_up(data: bytes) -> Read:
    decoded = decode(data)
    return Read(decoded.text, decoded.encoding, about_markdown(decoded.text))
