"""Traces of forgotten documents to search the build for: id, source, digests of the bytes and of the
texts, and hashed runs of 13 words of the raw and of the cleaned text.

Word runs are kept as 64-bit hashes, so the file that lists what to search for is not itself a copy of
the text. The file (`.privllm/forget.parquet`) is written before anything is removed and stays until the
absence of the documents has been proved, so an interrupted or postponed build can be checked later.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.core.records import document_id
from privllm.core.tables import read_table, write_table
from privllm.core.work_paths import FORGET_NOTE
from privllm.dedup.exact import normalised_digest
from privllm.dedup.shingles import shingles
from privllm.manage.document_status import rows_of

WORDS = 13  # in a run: the length commonly used to test whether a benchmark was in the training data
FEWEST_CHARACTERS = 20  # of a text shorter than a run that is searched for as a whole
BATCH = 500  # texts in memory at a time
Item = TypeVar("Item")
TRACES = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("digests", pa.list_(pa.string())),
        ("runs", pa.list_(pa.uint64())),  # distinct, sorted
    ]
)


@dataclass(frozen=True)
class ForgottenDocuments:
    """Traces of the documents that must no longer be in the build."""

    table: pa.Table  # TRACES

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def ids(self) -> set[str]:
        return set(self.table["id"].to_pylist())

    @cached_property
    def digested_ids(self) -> set[str]:
        """Ids of what had bytes of its own; the others name whom it came from."""
        rows = zip(self.table["id"].to_pylist(), self.table["digests"].to_pylist(), strict=True)
        return {identifier for identifier, digests in rows if digests}

    @cached_property
    def digests(self) -> set[str]:
        return set().union(*self.table["digests"].to_pylist())

    @cached_property
    def names(self) -> set[str]:
        """Ids, digests and sources: strings that identify a document."""
        return self.ids | self.digests | set(self.table["source"].to_pylist())

    @cached_property
    def runs(self) -> np.ndarray:
        """Hashes of all word runs, uint64, distinct and sorted."""
        return np.unique(self.table["runs"].combine_chunks().flatten().to_numpy(zero_copy_only=False))

    def has_runs(self, hashes: np.ndarray) -> np.ndarray:
        """Return a bool array: is each of `hashes` a word run of a forgotten document?"""
        if not len(self.runs):
            return np.zeros(len(hashes), bool)
        positions = np.minimum(np.searchsorted(self.runs, hashes), len(self.runs) - 1)
        return self.runs[positions] == hashes

    def sources_with(self, runs: np.ndarray, names: set[str]) -> list[str]:
        """Return the sorted sources of the documents that have any of these word runs or names."""
        sources = set()
        ids, all_sources, digests = (self.table[name].to_pylist() for name in ("id", "source", "digests"))
        for row, source in enumerate(all_sources):
            document_runs = self.table["runs"][row].values.to_numpy(zero_copy_only=False)
            has_name = not names.isdisjoint({ids[row], source, *digests[row]})
            if has_name or np.isin(runs, document_runs).any():
                sources.add(source)
        return sorted(sources)

    def without(self, ids: set[str]) -> "ForgottenDocuments":
        """Return a copy that lacks the documents `ids`."""
        stays = [identifier not in ids for identifier in self.table["id"].to_pylist()]
        return ForgottenDocuments(self.table.filter(pa.array(stays, pa.bool_())))

    def merged_with(self, second: "ForgottenDocuments") -> "ForgottenDocuments":
        """Return the documents of both. A document whose text changed in between has two rows."""
        return ForgottenDocuments(pa.concat_tables([self.table, second.table]).combine_chunks())

    def save(self, root: Path) -> None:
        """Write the traces to `FORGET_NOTE` below `root`."""
        write_table(self.table, root / FORGET_NOTE)


def load(path: Path) -> ForgottenDocuments:
    """Read the file that `save` wrote; no documents where there is none."""
    return ForgottenDocuments(read_table(path) if path.is_file() else TRACES.empty_table())


def gather_traces(
    root: Path, documents: Iterable[CollectedDocument | Quarantined], built: dict[str, str]
) -> ForgottenDocuments:
    """Return the traces of `documents`, which are still in the sources, and of what the build made of them.

    built: {id: source} of further documents that only the build still has.
    """
    traces = {identifier: _Traces(source) for identifier, source in built.items()}
    for batch in _batches(documents):
        ids = [document_id(document.source) for document in batch]
        for identifier, document in zip(ids, batch, strict=True):
            traces.setdefault(identifier, _Traces(document.source))
        texts = [document.text if isinstance(document, CollectedDocument) else "" for document in batch]
        _add_traces(traces, ids, [document.digest for document in batch], texts)
    for folder in ("collect", "clean", "clean/dropped", "dedup"):
        for ids in _batches(sorted(traces)):  # sorted, so that a batch lies in few shards
            rows = rows_of(root / "data" / folder, ids, ["id", "digest", "text"])
            digests = [row["digest"] for row in rows.values()]
            texts = [row["text"] for row in rows.values()]
            _add_traces(traces, list(rows), digests, texts)
            for identifier, row in rows.items():
                traces[identifier].digests.add(normalised_digest(row["text"]))  # which `dedup` knows a text by
    table_rows = [traces[identifier].row(identifier) for identifier in sorted(traces)]
    return ForgottenDocuments(pa.Table.from_pylist(table_rows, TRACES))


class _Traces:
    """Traces of one document, while they are being gathered."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.digests: set[str] = set()
        self.runs = np.zeros(0, np.uint64)

    def row(self, identifier: str) -> dict[str, object]:
        digests = sorted(self.digests)
        return {"id": identifier, "source": self.source, "digests": digests, "runs": self.runs}


def _add_traces(traces: dict[str, _Traces], ids: list[str], digests: list[str], texts: list[str]) -> None:
    """Add the digests and word runs of one version of some documents."""
    for identifier, digest, runs in zip(ids, digests, hash_word_runs(texts), strict=True):
        document = traces[identifier]
        if digest:
            document.digests.add(digest)
        document.runs = np.union1d(document.runs, runs)


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def hash_word_runs(texts: Sequence[str]) -> list[np.ndarray]:
    """Return the hashes of the runs of `WORDS` words of each text, uint64.

    A text with fewer words is one run, and one with fewer than `FEWEST_CHARACTERS` characters none.
    """
    hashes, offsets = shingles(texts, WORDS)
    runs = []
    for text, (start, end) in zip(texts, pairwise(offsets), strict=True):
        too_short = len(text) < FEWEST_CHARACTERS
        runs.append(hashes[start:start] if too_short else hashes[start:end])
    return runs
