"""Reading one file below the sources, and the files inside it, whatever their formats.

A container (an archive, a mailbox) is unpacked within limits, so that no file, however it was made,
fills the memory or takes for ever. What a part of a container was read as is taken over from the
last run where its source, its bytes, what the container says of it and the versions of its readers are the
same.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from privllm.collect.allowance import MAX_RATIO
from privllm.collect.documents import CollectedDocument, PassedOver, Quarantined, is_hidden, is_housekeeping
from privllm.collect.kinds_by_bytes import HEAD_BYTES, other_kind
from privllm.collect.reader_versions import NO_VERSION, Versions, version_of
from privllm.collect.readers.reader import NO_CODE, TOO_LARGE, Reader, Row
from privllm.collect.readers.registry import READERS, is_code, reader_for, recognised, row_by_own, why_not_read
from privllm.collect.seen_files import SAME_NAME, Entry
from privllm.collect.source_file import DEFAULT_OPTIONS, ReadOptions, SourceFile
from privllm.core.records import document_id
from privllm.core.seed import digest
from privllm.engine.extensions import NO_EXTENSIONS, Extensions

MAX_DEPTH = 6  # containers inside each other, a mail's attachments included
MAX_PARTS = 1_000_000  # of one file
MAX_UNPACKED = 64 << 30  # bytes of all parts of one file, those of archives in archives included
FREE_UNPACKED = 1 << 30  # of a small file, which may have MAX_RATIO times its bytes else
TOO_MUCH = "too_much"
BY_NEIGHBOURS = (TOO_MUCH, SAME_NAME)  # reasons that do not stay with the part
TOLD_APART = re.compile(r"~(?:[0-9a-f]{32}|~\d+)$")  # how a name ends that something else has too


class Remembered(NamedTuple):
    """What a part of a container was read as in the last run: entries, whose texts are in the shards."""

    entries: list[Entry]


class Origin(NamedTuple):
    """Where a row comes from."""

    reader: str = NO_VERSION  # version of the one that made it
    parts: tuple[int, ...] = ()  # that it lies in, as in `seen_files.ENTRIES`
    sizes: tuple[int, ...] = ()  # of these parts
    containers: tuple[str, ...] = ()  # versions of the readers of these parts but of the last
    told: str = ""  # of the last of them


NO_PARTS = Origin()


class RowWithOrigin(NamedTuple):
    """A row, and where it comes from."""

    row: Row | Remembered
    origin: Origin


class RememberedParts:
    """The entries that the last run made of the parts of one container, in the order in which it made them."""

    def __init__(self, entries: Iterable[Entry] = (), versions: Collection[str] = (NO_VERSION,)) -> None:
        """`versions` are those of the readers now: what others made is no longer of use."""
        self._versions = versions
        self._entries = list(entries)
        self._begins: dict[str, int] = {}  # number of the first entry of each part
        for number, entry in enumerate(self._entries):
            for length in entry.parts:
                self._begins.setdefault(entry.source[:length], number)

    def look_up(self, part: SourceFile, parts: tuple[int, ...]) -> Remembered | None:
        """Return the entries of a part and of what lies inside it, where it has the same source, bytes and `told`, in the same `parts`."""
        begin = self._begins.get(part.source)
        if begin is None:
            return None
        own = self._entries[begin]
        if (own.source, own.digest, own.told, tuple(own.parts)) != (part.source, digest(part.data), part.told, parts):
            return None
        entries = list(self._entries_of(part.source, begin, len(parts)))
        depth = len(parts)
        return Remembered(entries) if all(self._is_of_use(entry, depth) for entry in entries) else None

    def _entries_of(self, source: str, begin: int, depth: int) -> Iterator[Entry]:
        """Yield the entries of a part, of which `begin` is the first. Names do not tell: `a/b` may lie beside `a`."""
        for number in range(begin, len(self._entries)):
            entry = self._entries[number]
            if entry.parts[depth - 1 : depth] != [len(source)] or not entry.source.startswith(source):
                return
            yield entry

    def _is_of_use(self, entry: Entry, depth: int) -> bool:
        """Return whether the readers of a part at a depth, and of what lies inside it, are those that made the entry."""
        readers = *entry.containers[depth - 1 :], entry.reader
        return all(version in self._versions for version in readers) and entry.reason not in BY_NEIGHBOURS


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
    may_unpack: int = MAX_UNPACKED
    # Of the parts and the documents in them; for each the number that the last of the same name and content got.
    sources: dict[str, int] = field(default_factory=dict)

    def rows(self, file: SourceFile, origin: Origin = NO_PARTS) -> Iterator[RowWithOrigin]:
        """Yield the rows of a file that a reader is there for; of parts whose entries are remembered only these.

        origin: the parts that the file lies in and is, before a reader is known.
        """
        is_part = bool(origin.parts)
        if not is_part:
            with suppress(OSError):  # of a file that is gone, as its reader says
                self.may_unpack = min(MAX_UNPACKED, max(FREE_UNPACKED, MAX_RATIO * file.size))
        reader, other = self._recognised(file)
        version = version_of(reader, self.versions)
        self.readers.add(version)
        origin = origin._replace(reader=version)
        for row in self._parts(file, reader, other):
            if isinstance(row, SourceFile):
                yield from self._rows_of_part(row, _inside(origin, row), reader)
            elif is_part and isinstance(row, CollectedDocument) and row.source != file.source:
                source = self._own_source(row.source, row.digest)
                yield RowWithOrigin(row._replace(id=document_id(source), source=source), origin)
            else:
                yield RowWithOrigin(row, origin)

    def parts(self, file: SourceFile) -> Iterator[Row | SourceFile]:
        """Yield what lies in a file itself, each under a source of its own."""
        yield from self._parts(file, *self._recognised(file))

    def _recognised(self, file: SourceFile) -> tuple[Reader, str]:
        """Return the reader of a file, and what it is where that cannot read it."""
        reader, other = recognised(file, self.extensions)
        assert reader is not None, file.source
        return reader, other

    def _parts(self, file: SourceFile, reader: Reader, other: str) -> Iterator[Row | SourceFile]:
        if other:
            yield Quarantined(file.source, "", file.size, "unsupported", f"by its bytes it is {other}")
            return
        for row in _read(reader, file, self.max_bytes, self.extensions):
            yield self._with_own_source(row) if isinstance(row, SourceFile) else row

    def _rows_of_part(self, part: SourceFile, origin: Origin, container: Reader) -> Iterator[RowWithOrigin]:
        self.part_count += 1
        self.unpacked += part.size
        if is_housekeeping(part.name) or (container is READERS["archive"] and is_hidden(part.name)):
            yield RowWithOrigin(PassedOver(part.source), origin)
        elif fault := self._fault_of(part, len(origin.parts)):
            refused = Quarantined(part.source, digest(part.data), part.size, *fault)
            yield RowWithOrigin(refused, origin)
        elif remembered := self._remembered(part, origin):
            self.readers.update(
                version for entry in remembered.entries for version in (*entry.containers, entry.reader)
            )
            yield RowWithOrigin(remembered, origin)
        else:
            yield from self.rows(part, origin)

    def _remembered(self, part: SourceFile, origin: Origin) -> Remembered | None:
        """Return the entries of an unchanged part, None where what lies inside it may be called otherwise now."""
        remembered = self.remembered.look_up(part, origin.parts)
        if remembered is None:
            return None
        parts_inside = {
            entry.source[:length]: size
            for entry in remembered.entries
            for length, size in zip(entry.parts, entry.sizes, strict=True)
            if length > len(part.source)
        }
        inside = {entry.source for entry in remembered.entries if entry.id and entry.source != part.source}
        inside.update(parts_inside)
        if any(source in self.sources or TOLD_APART.search(source) for source in inside):
            return None
        part_count, unpacked = self.part_count + len(parts_inside), self.unpacked + sum(parts_inside.values())
        if self._is_too_much(part_count, unpacked):
            return None
        self.part_count, self.unpacked = part_count, unpacked
        self.sources.update(dict.fromkeys(inside, 1))
        outer = list(origin.containers)  # which may be read by other versions than last time
        return Remembered(
            [entry._replace(containers=outer + entry.containers[len(outer) :]) for entry in remembered.entries]
        )

    def _fault_of(self, part: SourceFile, depth: int) -> tuple[str, str] | None:
        """Return the reason and detail why a part is not read."""
        reader = reader_for(part, self.extensions)
        if depth > MAX_DEPTH:
            return "too_deep", f"over {MAX_DEPTH} containers inside each other: unpack it yourself"
        if self._is_too_much(self.part_count, self.unpacked):
            limits = f"{MAX_PARTS:,} parts or {self.may_unpack:,} bytes"
            return TOO_MUCH, f"the file holds over {limits}: unpack it yourself"
        if not part.size:
            return "empty", "no bytes"
        if reader is None:
            kind = other_kind(part.data[:HEAD_BYTES])
            return "unsupported", f"by its bytes it is {kind}" if kind else why_not_read(part.name, self.extensions)
        if is_code(reader) and not part.options.code:
            return NO_CODE
        if part.size > self.max_bytes and not reader.holds_many:
            return "too_large", TOO_LARGE
        return None

    def _is_too_much(self, part_count: int, unpacked: int) -> bool:
        return part_count > MAX_PARTS or unpacked > self.may_unpack

    def _with_own_source(self, part: SourceFile) -> SourceFile:
        """Return a part under a source that nothing else has."""
        content = digest(part.data) if part.source in self.sources else ""
        source = self._own_source(part.source, content)
        return part if source == part.source else replace(part, source=source)

    def _own_source(self, source: str, content: str) -> str:
        """Return a source that nothing else has: two may have one name, not one name and content of the same digest."""
        if source in self.sources:
            source = f"{source}~{content}"
        first, number = source, self.sources.get(source, 1)
        while source in self.sources:
            number += 1
            source = f"{first}~~{number}"
        self.sources[first] = number
        self.sources.setdefault(source, 1)
        return source


def _inside(origin: Origin, part: SourceFile) -> Origin:
    """Return the origin of a part of what lies there, before a reader is known."""
    containers = (*origin.containers, origin.reader) if origin.parts else ()
    return Origin(NO_VERSION, (*origin.parts, len(part.source)), (*origin.sizes, part.size), containers, part.told)


def _read(reader: Reader, file: SourceFile, max_bytes: int, extensions: Extensions) -> Iterator[Row | SourceFile]:
    if reader in READERS.values():
        yield from reader.read(file, max_bytes)
    else:
        yield row_by_own(file, max_bytes, extensions)
