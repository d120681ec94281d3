"""What became of the documents of each source, step by step, and examples for each reason.

A source is the uppermost folder of data/sources that a document comes from, or its file where that lies in none. Only the
columns that are needed are read, a shard at a time. Texts on the page are without the personal data that `clean` replaces.

    >>> source_of("mail/inbox.mbox#17/report.pdf"), source_of("notes.txt")
    ('mail/', 'notes.txt')
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.printable import printable
from privllm.core.records import whole_source
from privllm.core.tables import read_table, shards_of
from privllm.report.funnel import NAMES

STEPS = ("found", "readable", "clean", "distinct")
MAX_SOURCES = 15  # with a line of their own, by documents found
OTHERS = "others"
SINGLE = "single files"  # outside of folders, of one document each
EXAMPLES = 3  # of a reason
SHOWN_CHARACTERS = 90  # of an example's text
QUARANTINED, DROPPED, DUPLICATE = "not readable", "dropped by clean", "dropped by dedup"
LISTS = {
    QUARANTINED: "data/collect/quarantine/quarantine.txt",
    DROPPED: "data/clean/dropped/dropped.txt",
    DUPLICATE: "",
}


@dataclass
class SourceLine:
    """What is left of one source after each of STEPS."""

    name: str
    documents: Counter[str] = field(default_factory=Counter)
    size: Counter[str] = field(default_factory=Counter)  # bytes of UTF-8; of what is not readable, of the file

    def add(self, other: "SourceLine") -> None:
        self.documents.update(other.documents)
        self.size.update(other.size)


@dataclass
class Reason:
    """Why documents were left out at one step."""

    step: str
    name: str
    count: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)  # (path, what is said of it), the first by path

    @property
    def list(self) -> str:
        """Return the file that names each of them, "" where there is none."""
        return LISTS[self.step]


def source_of(source: str) -> str:
    """Return the uppermost folder of a document's path, with "/" behind it, or the file where it lies in none."""
    file = source.partition("#")[0]
    folder, slash, _ = file.partition("/")
    return f"{folder}/" if slash else file


def source_lines(collect: Path, clean: Path, dedup: Path) -> list[SourceLine]:
    """Return a line for each source, by documents found; those beyond MAX_SOURCES are added up."""
    lines: dict[str, SourceLine] = {}

    def count(step: str, source: str, size: int, is_new: bool) -> None:
        name = source_of(source)
        line = lines.setdefault(name, SourceLine(name))
        line.documents[step] += is_new
        line.size[step] += size

    for source, size in _sizes(collect / "quarantine", "bytes"):
        count("found", source, size, True)
    for step, folder in (("readable", collect), ("clean", clean), ("distinct", dedup)):
        seen: set[str] = set()
        for source, size in _sizes(folder, "text"):
            whole = whole_source(source)
            is_new = whole not in seen
            seen.add(whole)
            count(step, whole, size, is_new)
            if step == "readable":
                count("found", whole, size, is_new)
    ordered = sorted(_with_single_files(lines.values()), key=lambda line: (-line.documents["found"], line.name))
    others = SourceLine(OTHERS)
    for line in ordered[MAX_SOURCES:]:
        others.add(line)
    return [*ordered[:MAX_SOURCES], *([others] if len(ordered) > MAX_SOURCES else [])]


def _with_single_files(lines: Iterable[SourceLine]) -> list[SourceLine]:
    """Return the lines, those of files with one document added up."""
    single = SourceLine(SINGLE)
    others = []
    for line in lines:
        if line.documents["found"] == 1 and not line.name.endswith("/"):
            single.add(line)
        else:
            others.append(line)
    return [*others, *([single] if single.documents else [])]


def _sizes(folder: Path, column: str) -> Iterator[tuple[str, int]]:
    """Yield the source of each row and the bytes of a column, which may hold them as a number."""
    for path in shards_of(folder):
        table = read_table(path, ["source", column])
        values = table[column]
        sizes = values if pa.types.is_integer(values.type) else pc.binary_length(values)
        yield from zip(table["source"].to_pylist(), sizes.to_pylist(), strict=True)


def reasons(collect: Path, clean: Path, dedup: Path) -> list[Reason]:
    """Return why documents were left out, by step and by how often."""
    by_reason: dict[tuple[str, str], Reason] = {}

    def note(step: str, reason: str, source: str, text: str) -> None:
        words = NAMES.get(reason, reason.replace("_", " "))
        line = by_reason.setdefault((step, reason), Reason(step, words))
        line.count += 1
        line.examples = sorted([*line.examples, (printable(source), _beginning(text))])[:EXAMPLES]

    for path in shards_of(collect / "quarantine"):
        for row in read_table(path, ["source", "reason", "detail"]).to_pylist():
            note(QUARANTINED, row["reason"], row["source"], row["detail"])
    for path in shards_of(clean / "dropped"):
        for row in read_table(path, ["source", "reason", "detail", "text"]).to_pylist():
            text = f"{row['detail']}: {row['text']}" if row["text"] else row["detail"]
            note(DROPPED, row["reason"], row["source"], text)
    for row in _duplicates(clean, dedup):
        note(DUPLICATE, row["reason"], row["source"], f"like {row['like']}")
    order = list(LISTS)
    return sorted(by_reason.values(), key=lambda line: (order.index(line.step), -line.count, line.name))


def _duplicates(clean: Path, dedup: Path) -> Iterator[dict[str, str]]:
    """Yield source and reason of each document that dedup dropped, and the source that was kept in its place."""
    dropped: dict[str, dict[str, str]] = {}
    survivors: dict[str, str] = {}  # by cluster
    for path in shards_of(dedup / "clusters"):
        for row in read_table(path, ["id", "cluster", "kept", "reason"]).to_pylist():
            if row["kept"]:
                survivors[row["cluster"]] = row["id"]
            else:
                dropped[row["id"]] = row
    wanted = dropped.keys() | {survivors[row["cluster"]] for row in dropped.values() if row["cluster"] in survivors}
    sources: dict[str, str] = {}
    for path in shards_of(clean):
        table = read_table(path, ["id", "source"])
        is_wanted = pc.is_in(table["id"], pa.array(sorted(wanted), pa.string()))
        sources |= {row["id"]: row["source"] for row in table.filter(is_wanted).to_pylist()}
    for identifier, row in dropped.items():
        like = sources.get(survivors.get(row["cluster"], ""), "a document of another cluster")
        yield {"source": sources[identifier], "reason": row["reason"], "like": like}


def _beginning(text: str) -> str:
    """Return the beginning of a text, on one line."""
    line = printable(" ".join(text[: 4 * SHOWN_CHARACTERS].split()))
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[: SHOWN_CHARACTERS - 1]}…"
