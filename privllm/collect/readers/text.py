"""Plain text and Markdown: one document a file, read as it is."""

from collections.abc import Iterator
from typing import ClassVar

from privllm.collect.decode import decode
from privllm.collect.readers.reader import Reader, Row, read_one, suffix_of
from privllm.collect.source_file import SourceFile


class TextReader(Reader):
    """Text files in any encoding that `decode` recognises."""

    media_types: ClassVar = {
        ".txt": "text/plain",
        ".text": "text/plain",
        ".md": "text/markdown",
        ".markdown": "text/markdown",
    }
    holds_many = False

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[Row]:
        """Yield the text, or why it cannot be read."""
        yield read_one(file, self.media_types[suffix_of(file.name)], decode)
