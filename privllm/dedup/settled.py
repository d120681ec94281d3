"""Similarities of pairs of texts that were computed before, so that an edit settles its own pairs only.

A pair is named by the digests of its two texts, and its similarity is a pure function of them, so an entry is right for ever;
what a run did not ask for is forgotten.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa

from privllm.core.digests import replacing

PAIRS = pa.schema([("left", pa.string()), ("right", pa.string()), ("similarity", pa.float64())])


class Settled:
    """`digests[row]` names the text of a row; pairs are int64 (2, pairs) of rows."""

    def __init__(self, file: Path | None, digests: Sequence[str]) -> None:
        self.file, self.digests = file, digests
        self._known: dict[tuple[str, str], float] = {}
        self._asked: dict[tuple[str, str], float] = {}
        if file:
            with suppress(OSError, pa.ArrowException), pa.memory_map(str(file)) as source:
                table = pa.ipc.open_file(source).read_all()
                if table.schema == PAIRS:
                    left, right, values = (table[name].to_pylist() for name in PAIRS.names)
                    self._known = dict(zip(zip(left, right, strict=True), values, strict=True))

    def of(self, pairs: np.ndarray) -> np.ndarray:
        """Known similarities, float64 (pairs,); NaN where nobody computed them."""
        names = [self._name(left, right) for left, right in pairs.T.tolist()]
        self._asked |= {name: self._known[name] for name in names if name in self._known}
        return np.array([self._known.get(name, np.nan) for name in names], np.float64)

    def learn(self, pairs: np.ndarray, similarities: np.ndarray) -> None:
        names = (self._name(left, right) for left, right in pairs.T.tolist())
        self._asked |= dict(zip(names, similarities.tolist(), strict=True))

    def save(self) -> None:
        if self.file is None:
            return
        rows = sorted(self._asked.items())
        columns = [[left for (left, _), _ in rows], [right for (_, right), _ in rows], [value for _, value in rows]]
        with replacing(self.file) as partial, pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, PAIRS) as writer:
            writer.write_table(pa.table([pa.array(c, f.type) for c, f in zip(columns, PAIRS, strict=True)], schema=PAIRS))

    def _name(self, left: int, right: int) -> tuple[str, str]:
        one, other = self.digests[left], self.digests[right]
        return (one, other) if one < other else (other, one)
