"""What would betray that a forgotten document is still there: its id, its name, the digest of its bytes, and runs of 13 words of
what it said, raw and cleaned. Runs are kept as 64-bit hashes, so that the note of what to look for is not itself a copy.

The note (`.privllm/forget.parquet`) is written before anything is removed and lies there until absence has been proved, so a
build that was interrupted, or put off, can be proved later.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from privllm.collect.files import Document, Refused
from privllm.core.records import document_id
from privllm.core.tables import read_table, write_table
from privllm.dedup.shingles import shingles
from privllm.manage.document_status import rows_of

NOTE = Path(".privllm/forget.parquet")
WORDS = 13  # in a run: as in tests of whether a benchmark was trained on
FEWEST_CHARACTERS = 20  # of a text that is searched for as a whole because it has fewer words than a run
BATCH = 500  # texts in memory together
Item = TypeVar("Item")
EVIDENCE = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("digests", pa.list_(pa.string())),
        ("runs", pa.list_(pa.uint64())),  # distinct, sorted
    ]
)


@dataclass(frozen=True)
class Evidence:
    table: pa.Table  # EVIDENCE

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def ids(self) -> set[str]:
        return set(self.table["id"].to_pylist())

    @cached_property
    def digests(self) -> set[str]:
        return {digest for digests in self.table["digests"].to_pylist() for digest in digests}

    @cached_property
    def names(self) -> set[str]:
        """Ids, digests and sources: what nothing else is called."""
        return self.ids | self.digests | set(self.table["source"].to_pylist())

    @cached_property
    def runs(self) -> np.ndarray:
        """Every run of words, uint64, distinct and sorted."""
        return np.unique(self.table["runs"].combine_chunks().flatten().to_numpy(zero_copy_only=False))

    def among(self, hashes: np.ndarray) -> np.ndarray:
        """Which of `hashes` are runs of a forgotten document, bool."""
        if not len(self.runs):
            return np.zeros(len(hashes), bool)
        places = np.minimum(np.searchsorted(self.runs, hashes), len(self.runs) - 1)
        return self.runs[places] == hashes

    def of(self, runs: np.ndarray, names: set[str]) -> list[str]:
        """The sources that these runs and names tell of."""
        rows = zip(*(self.table[column].to_pylist() for column in ("id", "source", "digests")), self.table["runs"], strict=True)
        return sorted(
            {
                source
                for identifier, source, digests, held in rows
                if names & {identifier, source, *digests} or np.isin(runs, held.values.to_numpy(zero_copy_only=False)).any()
            }
        )

    def save(self, root: Path) -> None:
        write_table(self.table, root / NOTE)


def gather(root: Path, documents: Iterable[Document | Refused], built: dict[str, str]) -> Evidence:
    """The evidence of what is about to go, from the sources' `documents` and from all that the build has made of them.

    built: {id: source} of more documents, known to the build alone.
    """
    found = {identifier: _Traces(source) for identifier, source in built.items()}
    for batch in _batches(documents):
        for document in batch:
            found.setdefault(document_id(document.source), _Traces(document.source))
        texts = [document.text if isinstance(document, Document) else "" for document in batch]
        _add(found, [document_id(document.source) for document in batch], [document.digest for document in batch], texts)
    for folder in ("collect", "clean", "clean/dropped", "dedup"):
        for ids in _batches(sorted(found)):  # sorted, so that a batch lies in few shards
            rows = rows_of(root / "data" / folder, ids, ["id", "digest", "text"])
            _add(found, list(rows), [row["digest"] for row in rows.values()], [row["text"] for row in rows.values()])
    return Evidence(pa.Table.from_pylist([traces.row(identifier) for identifier, traces in sorted(found.items())], EVIDENCE))


class _Traces:
    """What is known of one document."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.digests: set[str] = set()
        self.runs = np.zeros(0, np.uint64)

    def row(self, identifier: str) -> dict[str, object]:
        return {"id": identifier, "source": self.source, "digests": sorted(self.digests), "runs": self.runs}


def _add(found: dict[str, _Traces], ids: list[str], digests: list[str], texts: list[str]) -> None:
    for identifier, digest, runs in zip(ids, digests, runs_of(texts), strict=True):
        found[identifier].digests |= {digest} - {""}
        found[identifier].runs = np.union1d(found[identifier].runs, runs)


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def runs_of(texts: Sequence[str]) -> list[np.ndarray]:
    """The hashes of the runs of `WORDS` words of each text, uint64; a shorter text is one run, a very short one none."""
    hashes, offsets = shingles(texts, WORDS)
    runs = [hashes[start:end] for start, end in pairwise(offsets)]
    return [found[:0] if len(text) < FEWEST_CHARACTERS else found for text, found in zip(texts, runs, strict=True)]


def load(path: Path) -> Evidence:
    """The note at `path`; nothing where there is none."""
    return Evidence(read_table(path) if path.is_file() else EVIDENCE.empty_table())


def merged(first: Evidence, second: Evidence) -> Evidence:
    """Both: a document may then have two rows, of what it said at two times."""
    return Evidence(pa.concat_tables([first.table, second.table]).combine_chunks())


def without(evidence: Evidence, ids: set[str]) -> Evidence:
    return Evidence(evidence.table.filter(pa.array([identifier not in ids for identifier in evidence.table["id"].to_pylist()], pa.bool_())))
