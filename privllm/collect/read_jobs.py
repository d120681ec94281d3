"""Groups of files that a worker reads in one go, and the arguments of its job."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from privllm.collect.documents import path_of
from privllm.collect.reader_versions import NO_VERSIONS, Versions
from privllm.collect.seen_files import SeenFiles
from privllm.collect.source_file import DEFAULT_OPTIONS, ReadOptions
from privllm.engine.extensions import NO_EXTENSIONS, Extensions

GROUP_BYTES = 8 << 20
GROUP_BYTES_A_SHARD = 1 << 14  # where shards are many, runs should be few: each shard's writer opens all of them
GROUP_FILES = 2000
MIN_GROUP_BYTES = 1 << 20
MIN_GROUPS = 16  # of a corpus that is large enough for them


class ReadSettings(NamedTuple):
    """What determines how files are read."""

    sources: Path  # the folder
    max_bytes: int  # of a file, or of a document where a file holds many
    shard_bits: int
    extensions: Extensions = NO_EXTENSIONS  # that hold further readers
    options: ReadOptions = DEFAULT_OPTIONS
    versions: Versions = NO_VERSIONS  # of the readers


class ReadJobs(Sequence[tuple[Any, ...]]):
    """The arguments of `read_group`, made on access, since all paths together take much memory."""

    def __init__(
        self,
        stems: list[Path],
        settings: ReadSettings,
        files: pa.ChunkedArray,  # sources
        file_groups: list[tuple[int, int]],
        containers: SeenFiles,  # the former entries of some of the files
    ) -> None:
        self.stems = stems
        self.settings = settings
        self.files = files
        self.file_groups = file_groups
        self.containers = containers

    def __len__(self) -> int:
        return len(self.file_groups)

    def __getitem__(self, index: Any) -> Any:
        first, last = self.file_groups[index]
        sources = self.files.slice(first, last - first).to_pylist()
        paths = [path_of(source, self.settings.sources) for source in sources]
        containers = self.containers.only(sources)
        return self.stems[index], *self.settings, containers, *paths


def groups(sizes: Sequence[int], max_bytes: int) -> list[tuple[int, int]]:
    """Return (first, last + 1) of neighbouring files that together are worth a job.

    A group has at most `max_bytes`, unless one file alone has more, and at most GROUP_FILES files.
    """
    target = min(max_bytes, max(MIN_GROUP_BYTES, sum(sizes) // MIN_GROUPS))
    ranges: list[tuple[int, int]] = []
    first = group_bytes = 0
    for place, size in enumerate(sizes):
        is_full = group_bytes + size > target or place - first >= GROUP_FILES
        if place > first and is_full:
            ranges.append((first, place))
            first, group_bytes = place, 0
        group_bytes += size
    if sizes:
        ranges.append((first, len(sizes)))
    return ranges
