"""Reading one file below the sources, and the files inside it, whatever their formats.

A container (an archive, a mailbox) is unpacked within limits, so that no file, however it was made,
fills the memory or takes for ever. What a part of a container was read as is taken over from the
last run where its source, its bytes and the versions of its readers are the same.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from privllm.collect.documents import CollectedDocument, PassedOver, Quarantined, is_housekeeping
from privllm.collect.reader_versions import NO_VERSION, Versions, version_of
from privllm.collect.readers.reader import NO_CODE, TOO_LARGE, Reader, Row
from privllm.collect.readers.registry import READERS, is_code, reader_for, row_by_own, why_not_read
from privllm.collect.seen_files import Entry
from privllm.collect.source_file import DEFAULT_OPTIONS, ReadOptions, SourceFile
from privllm.core.seed import digest
from privllm.engine.extensions import NO_EXTENSIONS, Extensions

MAX_DEPTH = 6  # containers inside each other, a mail's attachments included
MAX_PARTS = 1_000_000  # of one file
MAX_UNPACKED = 64 << 30  # bytes of all parts of one file


class Remembered(NamedTuple):
    """What a part of a container was read as in the last run: entries, whose texts are in the shards."""

    entries: list[Entry]


class VersionedRow(NamedTuple):
    """A row, and the version of the reader that made it."""

    row: Row | Remembered
    reader: str


class RememberedParts:
    """The entries that the last run made of the parts of one container."""

    def __init__(self, entries: Iterable[Entry] = (), versions: Collection[str] = (NO_VERSION,)) -> None:
        """`versions` are those of the readers now: what others made is no longer of use."""
        self._versions = versions
        self._entries = sorted(entries, key=lambda entry: entry.source)
        self._sources = [entry.source for entry in self._entries]

    def look_up(self, part: SourceFile) -> Remembered | None:
        """Return the entries of a part with the same source and bytes, and of what lies inside it."""
        place = bisect_left(self._sources, part.source)
        if place == len(self._sources) or self._sources[place] != part.source:
            return None
        own = self._entries[place]
        if own.digest != digest(part.data):
            return None
        begin = bisect_left(self._sources, f"{part.source}/")
        end = bisect_left(self._sources, f"{part.source}0")  # the character after "/"
        entries = [own, *self._entries[begin:end]]
        return Remembered(entries) if all(entry.reader in self._versions for entry in entries) else None


NOTHING_REMEMBERED = RememberedParts()


def read_file(
    path: Path,
    sources: Path,
    max_bytes: int,
    extensions: Extensions = NO_EXTENSIONS,
    options: ReadOptions = DEFAULT_OPTIONS,
) -> Iterator[CollectedDocument | Quarantined]:
    """Yield the documents of a file, and refusals with a reason."""
    reading = FileReading(max_bytes, extensions)
    for row, _ in reading.rows(SourceFile.at(path, sources, options)):
        if isinstance(row, CollectedDocument | Quarantined):
            yield row


@dataclass
class FileReading:
    """The reading of one file: what was read of it, and what was unpacked."""

    max_bytes: int
    extensions: Extensions = NO_EXTENSIONS
    remembered: RememberedParts = NOTHING_REMEMBERED
    versions: Versions = field(default_factory=dict)
    readers: set[str] = field(default_factory=set)  # versions of those that have read, containers included
    part_count: int = 0
    unpacked: int = 0  # bytes
    # Of the parts; for each the number that the last part of the same name and bytes got.
    sources: dict[str, int] = field(default_factory=dict)

    def rows(self, file: SourceFile, depth: int = 0) -> Iterator[VersionedRow]:
        """Yield the rows of a file that a reader is there for; of parts whose entries are remembered only these."""
        reader = self._reader_of(file)
        version = version_of(reader, self.versions)
        self.readers.add(version)
        for row in self._parts(file, reader):
            if isinstance(row, SourceFile):
                yield from self._rows_of_part(row, depth + 1)
            else:
                yield VersionedRow(row, version)

    def parts(self, file: SourceFile) -> Iterator[Row | SourceFile]:
        """Yield what lies in a file itself, each under a source of its own."""
        yield from self._parts(file, self._reader_of(file))

    def _reader_of(self, file: SourceFile) -> Reader:
        reader = reader_for(file, self.extensions)
        assert reader is not None, file.source
        return reader

    def _parts(self, file: SourceFile, reader: Reader) -> Iterator[Row | SourceFile]:
        for row in _read(reader, file, self.max_bytes, self.extensions):
            yield self._with_own_source(row) if isinstance(row, SourceFile) else row

    def _rows_of_part(self, part: SourceFile, depth: int) -> Iterator[VersionedRow]:
        self.part_count += 1
        self.unpacked += part.size
        if is_housekeeping(part.name):
            yield VersionedRow(PassedOver(part.source), NO_VERSION)
        elif fault := self._fault_of(part, depth):
            yield VersionedRow(Quarantined(part.source, digest(part.data), part.size, *fault), NO_VERSION)
        elif remembered := self.remembered.look_up(part):
            self.readers.update(entry.reader for entry in remembered.entries)
            yield VersionedRow(remembered, NO_VERSION)
        else:
            yield from self.rows(part, depth)

    def _fault_of(self, part: SourceFile, depth: int) -> tuple[str, str] | None:
        """Return the reason and detail why a part is not read."""
        reader = reader_for(part, self.extensions)
        if depth > MAX_DEPTH:
            return "too_deep", f"over {MAX_DEPTH} containers inside each other: unpack it yourself"
        if self.part_count > MAX_PARTS or self.unpacked > MAX_UNPACKED:
            limits = f"{MAX_PARTS:,} parts or {MAX_UNPACKED >> 30} GiB"
            return "too_much", f"the file holds over {limits}: unpack it yourself"
        if not part.size:
            return "empty", "no bytes"
        if reader is None:
            return "unsupported", why_not_read(part.name, self.extensions)
        if is_code(reader) and not part.options.code:
            return NO_CODE
        if part.size > self.max_bytes and not reader.holds_many:
            return "too_large", TOO_LARGE
        return None

    def _with_own_source(self, part: SourceFile) -> SourceFile:
        """Return a part under a source that no other part has: two may have one name, not one name and the same bytes."""
        if part.source in self.sources:
            part = replace(part, source=f"{part.source}~{digest(part.data)}")
        first, number = part.source, self.sources.get(part.source, 1)
        while part.source in self.sources:
            number += 1
            part = replace(part, source=f"{first}~~{number}")
        self.sources[first] = number
        self.sources.setdefault(part.source, 1)
        return part


def _read(reader: Reader, file: SourceFile, max_bytes: int, extensions: Extensions) -> Iterator[Row | SourceFile]:
    if reader in READERS.values():
        yield from reader.read(file, max_bytes)
    else:
        yield row_by_own(file, max_bytes, extensions)
