"""Sides of the split that are recorded: where the documents of promoted builds stood, and must stand for ever.

    data/promoted/sides/sides.parquet    SIDES, written by `privllm promote`

A document is known by its id and by its text, so neither an edit nor another name takes it across. Where documents of
two sides become near duplicates, the side that trained wins: a model has read that text, so it can judge none. The others
of that cluster are left out, and come back when the cause is gone. A near duplicate of a text that is no longer there,
under another name, is a new document.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.errors import UserError
from privllm.core.promoted import SIDES_FILE
from privllm.core.records import SIDES
from privllm.core.split import SPLITS
from privllm.core.tables import read_folder, read_table

RECORDED, NEW, BARRED = range(3)  # standing of a document; the survivor of a cluster is sought in this order
UNRECORDED = len(SPLITS)  # the side of a cluster without records
OTHER_SIDE = "other_side"  # the reason of a document that is left out


class Standing(NamedTuple):
    """Of each document, int64 (rows,)."""

    standing: np.ndarray  # RECORDED, NEW or BARRED
    side: np.ndarray  # of its cluster, an index into SPLITS, or UNRECORDED


def read_sides(folder: Path) -> pa.Table:
    """Return the SIDES in data/promoted/sides; empty before the first promotion.

    Raises UserError where the file is in git, but was not fetched.
    """
    file = folder / SIDES_FILE
    if file.is_file():
        return read_table(file, SIDES.names)
    if file.with_name(file.name + ".dvc").is_file():
        raise UserError(
            f"{file} is not there, though {file}.dvc is: without it, documents would change between training and "
            "test. Run `dvc pull`, or `dvc checkout` where it was fetched before."
        )
    return SIDES.empty_table()


def stand(sides: pa.Table, ids: pa.Array, digests: pa.Array, roots: np.ndarray) -> Standing:
    """Return where documents stand.

    digests: of the normalised texts; roots: of each row the first row of its cluster.
    """
    bits = np.zeros(len(ids), np.int64)  # bit i: recorded on SPLITS[i]
    for side, name in enumerate(SPLITS):
        records = sides.filter(pc.equal(sides["split"], name))
        is_recorded = pc.or_(pc.is_in(ids, records["id"]), pc.is_in(digests, records["digest"]))
        bits |= is_recorded.to_numpy(zero_copy_only=False).astype(np.int64) << side
    own_side = np.full(len(ids), UNRECORDED)
    for side in range(len(SPLITS)):
        own_side[bits == 1 << side] = side  # a document whose id and text stood on two sides can be on neither
    side_of_root = np.full(len(ids), UNRECORDED)
    np.minimum.at(side_of_root, roots, own_side)
    cluster_side = side_of_root[roots]
    has_record = np.zeros(len(ids), bool)
    np.logical_or.at(has_record, roots, bits > 0)
    is_on_side = (own_side == cluster_side) & (bits > 0) & (own_side < UNRECORDED)
    standing = np.where(bits == 0, NEW, np.where(is_on_side, RECORDED, BARRED))
    standing[has_record[roots] & (cluster_side == UNRECORDED)] = BARRED
    return Standing(standing, cluster_side)


def sides_of(deduped: Path) -> pa.Table:
    """Return the SIDES of a build (data/dedup): its documents, and the duplicates that were dropped for them."""
    survivors = read_folder(deduped, ["cluster", "split"]).combine_chunks()
    clusters = read_table(deduped / "clusters" / "clusters.parquet", ["id", "digest", "cluster", "reason"])
    members = clusters.filter(pc.not_equal(clusters["reason"], OTHER_SIDE)).combine_chunks()
    places = pc.index_in(members["cluster"], value_set=survivors["cluster"])
    return pa.table([members["id"], members["digest"], survivors["split"].take(places)], schema=SIDES)


def merged(earlier: pa.Table, later: pa.Table) -> pa.Table:
    """Return the records of both, each once, by id: also of documents that are gone, since they may come back."""
    records = pa.concat_tables([earlier, later]).group_by(SIDES.names).aggregate([])
    return records.select(SIDES.names).sort_by([(name, "ascending") for name in SIDES.names])


def without(sides: pa.Table, ids: set[str], digests: set[str], present: set[str]) -> pa.Table:
    """Return the records without those of the documents `ids`, and of the texts `digests` under names that are gone.

    A text that a document in `present` still has stays recorded for that one.
    """
    has_text = pc.is_in(sides["digest"], pa.array(sorted(digests), pa.string()))
    is_present = pc.is_in(sides["id"], pa.array(sorted(present - ids), pa.string()))
    is_named = pc.is_in(sides["id"], pa.array(sorted(ids), pa.string()))
    return sides.filter(pc.invert(pc.or_(is_named, pc.and_not(has_text, is_present))))
