"""From entries to shards: which documents a shard is made of, and writing one.

A shard is named by what it is made of (id, digest and encoding of each document, in the order of ids); texts come from
wherever they lie: the runs of the files read just now, or the shard as it was before.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from privllm.collect.shard_runs import read_batch
from privllm.core.errors import UserError
from privllm.core.records import DOCUMENTS, shard_name
from privllm.core.seed import digest
from privllm.core.tables import read_table, write_table
from privllm.engine.store import Unkeyed

MAX_SHARD_BYTES = 2**31 - 1  # Arrow's string offsets are 32 bits


class Where(NamedTuple):
    """Where the texts of a shard can be found."""

    wanted: str  # `keys_of` its documents
    previous: Path | None
    runs: tuple[Path, ...]


def key_of(documents: pa.Table) -> pa.Array:
    """What tells versions of documents apart: "id digest encoding". Equal keys are equal rows of `records.DOCUMENTS`."""
    joined = pc.binary_join_element_wise(documents["id"], documents["digest"], documents["encoding"], " ")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def keys_of(documents: pa.Table) -> str:
    """The keys of a shard's documents, which are in the order of their ids, a line each."""
    return "\n".join(key_of(documents).to_pylist())


def name_of(wanted: str) -> str:
    """A digest of what a shard is made of."""
    return digest(wanted.encode())


def write_shard(out: Path, index: int, name: str, unkeyed: Unkeyed) -> int:
    """Write shard `index`; returns its documents. `name`, for the store's key, says which: `name_of(where.wanted)`."""
    where: Where = unkeyed.value
    pools, held = [DOCUMENTS.empty_table()], 0
    for pool in _pools(where, index):
        pools.append(pool)
        held += pool.nbytes
        if held > MAX_SHARD_BYTES:
            raise UserError(f"shard {index} would hold over 2 GB of text: raise `collect.shard_bits` in params.yaml by 2.")
    pool = pa.concat_tables(pools).combine_chunks()
    places = pc.index_in(pa.array(where.wanted.split("\n") if where.wanted else [], pa.string()), key_of(pool))
    assert not places.null_count, "a document of this shard was not read"
    table = pool.take(places)
    write_table(table, out / shard_name(index))
    return len(table)


def _pools(where: Where, index: int) -> Iterator[pa.Table]:
    for path in where.runs:
        yield read_batch(path, index)
    if where.previous:
        yield read_table(where.previous).cast(DOCUMENTS)
