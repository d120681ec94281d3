"""From entries to shards: which documents a shard is made of, and writing one.

A shard is named by what it is made of (id, digest and encoding of each document, in the order of ids); texts come from
wherever they lie: the runs of the files read just now, or the shard as it was before.
"""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.collect.runs import between, read_run
from privllm.core.errors import UserError
from privllm.core.records import DOCUMENTS, shard_name
from privllm.core.seed import digest
from privllm.core.store import Unkeyed
from privllm.core.tables import read_table, write_table

MAX_SHARD_BYTES = 2**31 - 1  # Arrow's string offsets are 32 bits
OPEN_RUNS = 4096


class Where(NamedTuple):
    """Where the texts of a shard can be found."""

    wanted: list[str]  # `key_of` its documents, sorted by id
    previous: Path | None
    runs: tuple[Path, ...]


def bounds(ids: pa.Array, bits: int) -> np.ndarray:
    """For ids in order, where each of `2**bits` shards begins and the last ends, int64 (2**bits + 1)."""
    leading = np.array([int(identifier[:4], 16) for identifier in ids.to_pylist()], np.int64) >> (16 - bits)
    return np.searchsorted(leading, np.arange(2**bits + 1))


def key_of(documents: pa.Table) -> pa.Array:
    """What tells versions of documents apart: "id digest encoding". Equal keys are equal rows of `records.DOCUMENTS`."""
    joined = pc.binary_join_element_wise(documents["id"], documents["digest"], documents["encoding"], " ")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def name_of(wanted: list[str]) -> str:
    """A digest of what a shard is made of."""
    return digest("\n".join(wanted).encode())


def write_shard(out: Path, index: int, bits: int, name: str, unkeyed: Unkeyed) -> int:
    """Write shard `index` of `2**bits`; returns its documents. `name`, for the store's key, says which: `name_of(where.wanted)`."""
    where: Where = unkeyed.value
    low, high = _bound(index, bits), _bound(index + 1, bits)
    pools = [between(_run(path, path.stat().st_ino, path.stat().st_mtime_ns), low, high) for path in where.runs]
    pools += [read_table(where.previous).cast(DOCUMENTS)] if where.previous else []
    if sum(pool.nbytes for pool in pools) > MAX_SHARD_BYTES:
        raise UserError(f"shard {index} of {2**bits} would hold over 2 GB of text: raise `collect.shard_bits` in params.yaml by 2.")
    pool = pa.concat_tables([DOCUMENTS.empty_table(), *pools]).combine_chunks()
    places = pc.index_in(pa.array(where.wanted, pa.string()), key_of(pool))
    assert not places.null_count, "a document of this shard was not read"
    table = pool.take(places)
    write_table(table, out / shard_name(index))
    return len(table)


@lru_cache(OPEN_RUNS)
def _run(path: Path, inode: int, modified: int) -> pa.Table:
    return read_run(path)


def _bound(index: int, bits: int) -> str:
    """The least id of shard `index`; above all ids where there is no such shard."""
    return f"{index << (16 - bits):04x}" if index < 2**bits else "g"
