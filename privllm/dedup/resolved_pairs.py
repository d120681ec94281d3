"""Similarities of pairs of texts from earlier runs, so that an edit compares only its own pairs.

A pair is named by the digests of its two texts, and its similarity is a pure function of them, so
an entry never becomes wrong. Pairs that a run does not look up are forgotten.
"""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.engine.digests import replacing

PAIRS = pa.schema([("left", pa.string()), ("right", pa.string()), ("similarity", pa.float64())])


class ResolvedPairs:
    """Similarities of pairs, int64 (2, pairs) of rows, each the first with its digest."""

    def __init__(self, file: Path | None, digests: pa.Array) -> None:
        """`digests[row]` names the text of a row."""
        self.file, self.digests = file, digests
        self._names = np.zeros(0, np.int64)  # of the last run, ascending
        self._values = np.zeros(0)
        self._used: list[tuple[np.ndarray, np.ndarray]] = []  # names and values of this run
        if file:
            with suppress(OSError, pa.ArrowException), pa.OSFile(str(file)) as source:
                table = pa.ipc.open_file(source).read_all()
                if table.schema == PAIRS:
                    self._load(table.combine_chunks())

    def _load(self, table: pa.Table) -> None:
        pairs = np.stack([self._rows_of(table["left"]), self._rows_of(table["right"])])
        exists = (pairs >= 0).all(axis=0)
        similarities = table["similarity"].to_numpy()[exists]
        self._names, first_places = np.unique(_names(pairs[:, exists]), return_index=True)
        self._values = similarities[first_places]

    def _rows_of(self, digests: pa.ChunkedArray) -> np.ndarray:
        """Return the first row with each digest, int64; -1 where the text is gone."""
        rows = pc.fill_null(pc.index_in(digests, self.digests), -1)
        return rows.to_numpy().astype(np.int64)

    def look_up(self, pairs: np.ndarray) -> np.ndarray:
        """Return the similarities of pairs, float64 (pairs,); NaN where none was computed."""
        names = _names(pairs)
        places = np.searchsorted(self._names, names)
        known_names = np.append(self._names, -1)  # a name beyond all known ones has the last place
        known_values = np.append(self._values, np.nan)
        is_resolved = known_names[places] == names
        values = np.where(is_resolved, known_values[places], np.nan)
        self._used.append((names[is_resolved], values[is_resolved]))
        return values

    def add(self, pairs: np.ndarray, similarities: np.ndarray) -> None:
        """Remember the similarities of pairs for the next run."""
        self._used.append((_names(pairs), similarities))

    def save(self) -> None:
        """Write the pairs that were looked up or added."""
        if self.file is None:
            return
        used = [(np.zeros(0, np.int64), np.zeros(0)), *self._used]  # there may be none
        all_names = np.concatenate([names for names, _ in used])
        all_values = np.concatenate([values for _, values in used])
        names, first_places = np.unique(all_names, return_index=True)
        left_rows, right_rows = names >> 32, names & 0xFFFFFFFF
        left = self.digests.take(pa.array(left_rows))
        right = self.digests.take(pa.array(right_rows))
        similarities = pa.array(all_values[first_places])
        table = pa.table([left, right, similarities], schema=PAIRS)
        with (
            replacing(self.file) as partial,
            pa.OSFile(str(partial), "wb") as sink,
            pa.ipc.new_file(sink, PAIRS) as writer,
        ):
            writer.write_table(table)


def _names(pairs: np.ndarray) -> np.ndarray:
    """Return a number for each pair, equal for both orders of its rows."""
    smaller_row, larger_row = pairs.min(axis=0), pairs.max(axis=0)
    return smaller_row << 32 | larger_row
