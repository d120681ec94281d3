"""Shards: which documents they are made of, and how they are written.

A shard is named by its documents (`IDENTITY` and reader of each, in the order of ids). Their
texts come from the runs of the files that were just read, or from the previous version of the
shard.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from privllm.collect.shard_runs import read_batch
from privllm.collect.source_file import DEFAULT_OPTIONS
from privllm.core.errors import UserError
from privllm.core.records import DOCUMENTS, shard_name
from privllm.core.seed import digest
from privllm.core.tables import read_table, write_table
from privllm.engine.store import Unkeyed

IDENTITY = ["id", "digest", "encoding", "media_type", "title", "author", "date"]  # columns that determine a document
ESCAPES = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"))
MAX_SHARD_BYTES = 2**31 - 1  # Arrow's string offsets are 32 bits


class TextLocations(NamedTuple):
    """The places where the texts of a shard can be read."""

    keys: str  # `keys_of` its documents
    previous: Path | None
    runs: tuple[Path, ...]


def key_of(documents: pa.Table) -> pa.Array:
    """Return what distinguishes versions of documents: IDENTITY, each on one line.

    The bytes alone do not: what a part of a container is, and is about, the container may say. Equal keys, made by
    readers of one version, are equal rows of `records.DOCUMENTS`.
    """
    columns = [documents[name] for name in IDENTITY]
    for character, escaped in ESCAPES:
        columns = [pc.replace_substring(column, character, escaped) for column in columns]
    keys = pc.binary_join_element_wise(*columns, "\t")
    return keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys


def keys_of(documents: pa.Table) -> str:
    """Return the keys of a shard's documents, which are in the order of their ids, a line each."""
    return "\n".join(key_of(documents).to_pylist())


def name_of(documents: pa.Table, text_key: str = DEFAULT_OPTIONS.text_key) -> str:
    """Return a digest of the keys of a shard's documents and the versions of their readers, and of the key of JSON objects' texts."""
    versions = "\n".join(documents["reader"].to_pylist())
    return digest(f"{text_key}\n{keys_of(documents)}\n{versions}".encode())


def write_shard(out: Path, index: int, name: str, unkeyed: Unkeyed) -> int:
    """Write shard `index` and return its number of documents.

    `name` is `name_of` the documents, by which the store knows the shard. A document that was just read
    comes before its like in the previous version, which another version of its reader may have made.
    """
    locations: TextLocations = unkeyed.value
    tables, size = [DOCUMENTS.empty_table()], 0
    for table in _tables_at(locations, index):
        tables.append(table)
        size += table.nbytes
        if size > MAX_SHARD_BYTES:
            raise UserError(
                f"shard {index} would hold over 2 GB of text: raise `collect.shard_bits` in params.yaml by 2."
            )
    available = pa.concat_tables(tables).combine_chunks()
    keys = pa.array(locations.keys.split("\n") if locations.keys else [], pa.string())
    rows = pc.index_in(keys, key_of(available))
    assert not rows.null_count, "a document of this shard was not read"
    documents = available.take(rows)
    write_table(documents, out / shard_name(index))
    return len(documents)


def _tables_at(locations: TextLocations, index: int) -> Iterator[pa.Table]:
    """Yield the documents (DOCUMENTS) of shard `index` in the runs, and after them those in its previous version."""
    for path in locations.runs:
        yield read_batch(path, index)
    if locations.previous:
        yield read_table(locations.previous).cast(DOCUMENTS)
