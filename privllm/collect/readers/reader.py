"""The protocol of a file format, and what several formats share.

To add a format, write a class in a module of its own in this folder and list it in
`registry.READERS`. A reader turns one file into documents as they are: `clean` takes the text out
of markup and removes personal data.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

from privllm.collect.decode import Decoded
from privllm.collect.documents import CollectedDocument, PassedOver, Quarantined, Unreadable, size_or_zero
from privllm.collect.parsed import About
from privllm.collect.source_file import SourceFile
from privllm.core.records import document_id
from privllm.core.seed import digest

Row = CollectedDocument | Quarantined | PassedOver
NO_CODE = ("code", "source code is read where params.yaml says `collect: {code: true}`")
TOO_LARGE = "over collect.max_megabytes: split it, or raise the limit"


class Read(NamedTuple):
    """What a reader made of a file that says something of itself."""

    text: str
    encoding: str  # or the format, of one that is no text
    about: About


class Reader(Protocol):
    """A file format."""

    media_types: ClassVar[Mapping[str, str]]  # by suffix, in lower case and with its dot
    holds_many: ClassVar[bool]  # a file is not one document, but holds several
    signatures: ClassVar[tuple[bytes, ...]] = ()  # first bytes by which a file is known that is called a text

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[Row | SourceFile]:
        """Yield the documents of `file`, refusals with a named reason, and files inside it, to be read by their own readers.

        It yields at least one row, so that no file disappears silently, and raises nothing for a
        file that is damaged or gone. Documents of a file that holds many have sources that stay
        when their neighbours change ("name#key"), and `max_bytes` limits each of them; a file that
        is one document is already known to be within the limit.
        """
        ...


def suffix_of(path: Path | str) -> str:
    """Return the suffix of `path` with its dot, in lower case; all of it if it has no dot."""
    _, dot, suffix = str(path).rpartition(".")
    return dot + suffix.lower()


def read_one(
    file: SourceFile,
    media_type: str,
    decode: Callable[[bytes], Decoded | Read],
) -> CollectedDocument | Quarantined:
    """Return a file's one document, or why it is none; `decode` may raise `Unreadable`."""
    source = file.source
    try:
        data = file.read()
    except OSError as error:
        return not_opened(file, error)
    data_digest = digest(data)
    try:
        read = decode(data)
        require_text(read.text)
    except Unreadable as refusal:
        return Quarantined(source, data_digest, len(data), refusal.reason, refusal.detail)
    about = (read.about if isinstance(read, Read) else About()).filled_by(file.about)
    identifier = document_id(source)
    return CollectedDocument(identifier, source, media_type, read.encoding, data_digest, read.text, *about)


def require_text(text: str) -> None:
    """Raise `Unreadable` ("empty") for a text of white space."""
    if not text or text.isspace():
        raise Unreadable("empty", "nothing but white space")


def not_opened(file: SourceFile, error: OSError) -> Quarantined:
    """Return the row of a file that could not be opened."""
    size = size_or_zero(file.path) if file.path else len(file.data)
    return Quarantined(file.source, "", size, "unreadable", error.strerror or "cannot be opened")
