"""The files beside a checkpoint in which processes keep their rows of tensors that are cut: `latest.a.3-of-8.safetensors`.

The checkpoint itself names them, so it and they become valid at once, when it is replaced; until then those of the older one stay, under
the other letter. As many processes as like go on from them: each reads the rows that are its own now, from whichever files have them. No
pickle is read or written, which torch.distributed.checkpoint would do for its index.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch.distributed.device_mesh import DeviceMesh

from privllm.train.parallel import first_says, group
from privllm.train.sharding import as_share, rows_of_group

SHARES = "shares"  # in a checkpoint's header: the names of the files
LETTERS = "ab"


def shares_of(checkpoint: Path) -> list[Path]:
    """Return the files that a checkpoint names, of rank 0, 1, ...; none where it is whole by itself, or damaged."""
    try:
        with safe_open(checkpoint, framework="pt") as file:
            names = json.loads(file.metadata().get(SHARES, "[]"))
    except (OSError, SafetensorError):
        return []
    return [checkpoint.with_name(name) for name in names]


def next_shares(checkpoint: Path) -> list[Path]:
    """Return where all processes write their rows next; all must ask."""
    used = [path.name.split(".")[1] for path in shares_of(checkpoint)]
    (letter,) = first_says([int(LETTERS[0] in used)])
    size = group().size
    names = [f"{checkpoint.stem}.{LETTERS[letter]}.{rank}-of-{size}{checkpoint.suffix}" for rank in range(size)]
    return [checkpoint.with_name(name) for name in names]


class Shares:
    """The files of a checkpoint's rows, open inside the `with`."""

    def __init__(self, paths: list[Path], mesh: DeviceMesh | None) -> None:
        self.files = [safe_open(path, framework="pt") for path in paths]
        self.mesh = mesh

    def __enter__(self) -> "Shares":
        for file in self.files:
            file.__enter__()
        return self

    def __exit__(self, *_: Any) -> None:
        for file in self.files:
            file.__exit__(None, None, None)

    def tensor(self, number: int, shape: list[int]) -> torch.Tensor:
        """Return a tensor: this process's rows where the model is cut, else all of it."""
        if self.mesh is None:
            return self._rows(number, 0, shape[0])
        rows = self._rows(number, *rows_of_group(shape[0]))
        return as_share(rows, torch.Size(shape), self.mesh)

    def _rows(self, number: int, begin: int, end: int) -> torch.Tensor:
        pieces: list[torch.Tensor] = []
        first = 0  # row of a file
        for file in self.files:
            rows = file.get_slice(str(number))
            count = rows.get_shape()[0]
            low, high = max(0, begin - first), min(count, end - first)
            if low < high:
                pieces.append(rows[low:high])
            first += count
        return torch.cat(pieces) if pieces else self.files[0].get_tensor(str(number))[:0]
