"""A safetensors file that is written one weight at a time, so that a model need not fit into memory.

The format is eight bytes with the length of a JSON header, the header, and the numbers (https://github.com/huggingface/safetensors).
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

SIZES = {"F32": 4, "F16": 2, "BF16": 2}
ALIGNMENT = 8  # of the header, in bytes


class Entry(NamedTuple):
    """A weight that the file will hold."""

    name: str
    dtype: str  # one of SIZES
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Return how many bytes its numbers are."""
        return int(np.prod(self.shape)) * SIZES[self.dtype]


def write_safetensors(path: Path, entries: Iterable[Entry], numbers: Iterator[bytes]) -> None:
    """Write the entries in their order; `numbers` are the little-endian bytes of each."""
    announced = list(entries)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}  # without which transformers refuses the file
    start = 0
    for entry in announced:
        end = start + entry.bytes
        header[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for entry, content in zip(announced, numbers, strict=True):
            assert len(content) == entry.bytes, f"{entry.name} has other numbers than were announced"
            file.write(content)
