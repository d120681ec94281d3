"""Which files one worker reads in one go, and the arguments that it is given."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from privllm.collect.files import path_of

GROUP_BYTES = 8 << 20
GROUP_BYTES_A_SHARD = 1 << 14  # where shards are many, runs should be few: each shard's writer opens all of them
GROUP_FILES = 2000


class Jobs(Sequence[tuple[Any, ...]]):
    """The arguments of `read_group`, made when they are asked for: all paths at once would be most of this process's memory."""

    def __init__(self, stems: list[Path], settings: tuple[Path, int, int], files: pa.ChunkedArray, parts: list[tuple[int, int]]) -> None:
        self.stems, self.settings, self.files, self.parts = stems, settings, files, parts

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: Any) -> Any:
        first, last = self.parts[index]
        sources = self.files.slice(first, last - first).to_pylist()
        return self.stems[index], *self.settings, *(path_of(source, self.settings[0]) for source in sources)


def groups(sizes: Sequence[int], most: int) -> list[tuple[int, int]]:
    """(first, last + 1) of neighbouring files that together are worth a job, and have `most` bytes unless one file alone has more."""
    target = min(most, max(1 << 20, sum(sizes) // 16))
    made: list[tuple[int, int]] = []
    first = held = 0
    for place, size in enumerate(sizes):
        if place > first and (held + size > target or place - first >= GROUP_FILES):
            made.append((first, place))
            first, held = place, 0
        held += size
    return [*made, (first, len(sizes))] if sizes else []
