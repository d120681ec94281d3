"""Statistics of one shard of documents, and the figures of a project's own expectations beside them."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from privllm.core.records import DEDUPED
from privllm.core.tables import read_table, write_table
from privllm.engine.extensions import NO_EXTENSIONS, Extensions
from privllm.validate.own_expectations import with_own_figures
from privllm.validate.statistics import STATISTICS, columns_of, describe_documents

BATCH_ROWS = 256


def describe_shard(out: Path, shard: Path, copied_runs: Path, extensions: Extensions = NO_EXTENSIONS) -> dict[str, Any]:
    """Write the statistics of one shard of `data/dedup` with its copied runs; return its name, its columns and its number of documents.

    A shard with other columns than `records.DEDUPED` gets an empty table: its documents cannot be judged.
    """
    file = pq.ParquetFile(shard)
    columns = columns_of(file.schema_arrow)
    tables = [with_own_figures(extensions, STATISTICS.empty_table(), DEDUPED.empty_table())]
    if columns == columns_of(DEDUPED):
        runs = read_table(copied_runs)
        for batch in file.iter_batches(BATCH_ROWS, use_threads=False):
            documents = pa.table(batch)
            tables.append(with_own_figures(extensions, describe_documents(documents, runs), documents))
    write_table(pa.concat_tables(tables), out / shard.name)
    return {"shard": shard.name, "columns": columns, "documents": file.metadata.num_rows}
