"""What a model was trained on: documents by id and a digest of their text, so that the next build can tell which are new to it.

Promotion writes them beside the weights (documents.parquet). They add up: what an earlier incumbent learnt is still in a model that
started from it, whether the document is in today's corpus or not.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.base_model import DOCUMENTS
from privllm.core.tables import by_id, read_folder, read_table
from privllm.tokens.rows import Rows

TRAINED = pa.schema([("id", pa.string()), ("digest", pa.string())])  # digest: `seed.digest` of the clean text


def trained_documents(packed: Path, starts: Path) -> pa.Table:
    """Return the documents that a model was trained on (TRAINED), by id.

    They are the training split of `packed` (data/pack), and those of the models in `starts`
    (data/start). If a document has changed, its current text counts.
    """
    table = read_folder(packed / "documents", ["id", "digest", "split"])
    documents = table.filter(pc.equal(table["split"], "train")).select(TRAINED.names)
    for path in sorted(starts.glob(f"*/{DOCUMENTS}")):
        earlier = read_documents(path)
        is_new = pc.invert(pc.is_in(earlier["id"], documents["id"].combine_chunks()))
        documents = pa.concat_tables([documents, earlier.filter(is_new)])
    return by_id(documents).cast(TRAINED)


def read_documents(path: Path) -> pa.Table:
    """Read the documents (TRAINED) of a documents.parquet; none where there is no file."""
    if not path.is_file():
        return TRAINED.empty_table()
    return read_table(path, TRAINED.names).cast(TRAINED)


def known_rows(rows: Rows, packed: Path, documents: Path) -> np.ndarray:
    """Return which rows of `packed` (data/pack) hold only unchanged documents of the file `documents`: bool [rows]."""
    table = read_folder(packed / "documents", TRAINED.names)
    earlier = read_documents(documents)
    is_unchanged = pc.is_in(_names(table), _names(earlier))
    unchanged_ids = table["id"].filter(is_unchanged).combine_chunks()
    return rows.only_of(unchanged_ids)


def _names(table: pa.Table) -> pa.Array:
    """Return id and digest of each document as one string."""
    return pc.binary_join_element_wise(table["id"], table["digest"], " ").combine_chunks()
