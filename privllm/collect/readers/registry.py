"""The formats that are read, and which of them a file has: its suffix decides."""

from collections.abc import Iterator
from pathlib import Path

from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.collect.readers.html import HtmlReader
from privllm.collect.readers.jsonl import JsonlReader
from privllm.collect.readers.reader import Reader, suffix_of
from privllm.collect.readers.text import TextReader

READERS: dict[str, Reader] = {
    "html": HtmlReader(),
    "text": TextReader(),
    "jsonl": JsonlReader(),
}
READER_BY_SUFFIX = {suffix: reader for reader in READERS.values() for suffix in reader.media_types}
SUFFIXES = " ".join(READER_BY_SUFFIX)  # for messages


def reader_of(path: Path | str) -> Reader | None:
    """Return the reader of a file, None where its format is not read."""
    return READER_BY_SUFFIX.get(suffix_of(path))


def media_type(path: Path | str) -> str | None:
    """Return the media type of a file, None where its format is not read."""
    reader = reader_of(path)
    return reader.media_types[suffix_of(path)] if reader else None


def read_file(path: Path, sources: Path, max_bytes: int) -> Iterator[CollectedDocument | Quarantined]:
    """Yield the documents of a file whose format is read, and refusals with a reason."""
    reader = reader_of(path)
    assert reader is not None, path
    yield from reader.read(path, sources, max_bytes)
