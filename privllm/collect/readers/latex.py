"""LaTeX as light Markdown, by `latex_text`, in the parsers' process: a text that was made to take for ever costs itself alone."""

from collections.abc import Iterator
from typing import ClassVar

from privllm.collect.decode import decode
from privllm.collect.parser_process import parse
from privllm.collect.readers.reader import Read, Reader, Row, read_one, require_text
from privllm.collect.source_file import SourceFile


class LatexReader(Reader):
    """Files of LaTeX."""

    media_types: ClassVar = dict.fromkeys((".tex", ".latex"), "text/x-tex")
    holds_many = False

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[Row]:
        """Yield the text, or why it cannot be read."""
        yield read_one(file, "text/markdown", _decoded)


def _decoded(data: bytes) -> Read:
    decoded = decode(data)
    require_text(decoded.text)
    parsed = parse("latex", decoded.text.encode())
    return Read(parsed.text, decoded.encoding, parsed.about)
