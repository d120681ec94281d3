"""Similarities of pairs of texts that were computed before, so that an edit settles its own pairs only.

A pair is named by the digests of its two texts, and its similarity is a pure function of them, so an entry is right for ever;
what a run did not ask for is forgotten.
"""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.engine.digests import replacing

PAIRS = pa.schema([("left", pa.string()), ("right", pa.string()), ("similarity", pa.float64())])


class Settled:
    """`digests[row]` names the text of a row; pairs are int64 (2, pairs) of rows, each the first with its digest."""

    def __init__(self, file: Path | None, digests: pa.Array) -> None:
        self.file, self.digests = file, digests
        self._names, self._values = np.zeros(0, np.int64), np.zeros(0)  # of known pairs, names ascending
        self._asked: list[tuple[np.ndarray, np.ndarray]] = []
        if file:
            with suppress(OSError, pa.ArrowException), pa.OSFile(str(file)) as source:
                table = pa.ipc.open_file(source).read_all()
                if table.schema == PAIRS:
                    self._load(table.combine_chunks())

    def _load(self, table: pa.Table) -> None:
        left, right = (pc.fill_null(pc.index_in(table[side], self.digests), -1).to_numpy().astype(np.int64) for side in ("left", "right"))
        still = (left >= 0) & (right >= 0)
        self._names, places = np.unique(_names(np.stack([left, right])[:, still]), return_index=True)
        self._values = table["similarity"].to_numpy()[still][places]

    def of(self, pairs: np.ndarray) -> np.ndarray:
        """Known similarities, float64 (pairs,); NaN where nobody computed them."""
        names = _names(pairs)
        places = np.searchsorted(self._names, names)
        known = np.append(self._names, -1)[places] == names
        values = np.where(known, np.append(self._values, np.nan)[places], np.nan)
        self._asked.append((names[known], values[known]))
        return values

    def learn(self, pairs: np.ndarray, similarities: np.ndarray) -> None:
        self._asked.append((_names(pairs), similarities))

    def save(self) -> None:
        if self.file is None:
            return
        names, places = np.unique(np.concatenate([np.zeros(0, np.int64), *(names for names, _ in self._asked)]), return_index=True)
        values = np.concatenate([np.zeros(0), *(values for _, values in self._asked)])[places]
        columns = [self.digests.take(pa.array(rows)) for rows in (names >> 32, names & 0xFFFFFFFF)]
        with replacing(self.file) as partial, pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, PAIRS) as writer:
            writer.write_table(pa.table([*columns, pa.array(values)], schema=PAIRS))


def _names(pairs: np.ndarray) -> np.ndarray:
    """One number for each pair, whichever way round."""
    return pairs.min(axis=0) << 32 | pairs.max(axis=0)
