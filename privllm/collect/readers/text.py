"""Plain text and Markdown: one document a file, read as it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from privllm.collect.decode import decode
from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.collect.readers.reader import Reader, read_one, suffix_of


class TextReader(Reader):
    """Text files in any encoding that `decode` recognises."""

    media_types: ClassVar = {
        ".txt": "text/plain",
        ".text": "text/plain",
        ".md": "text/markdown",
        ".markdown": "text/markdown",
    }
    holds_many = False

    def read(self, path: Path, sources: Path, max_bytes: int) -> Iterator[CollectedDocument | Quarantined]:
        """Yield the text, or why it cannot be read."""
        yield read_one(path, sources, self.media_types[suffix_of(path)], decode)
