"""What the corpus looks like, in numbers: one row per document, one row per shard, one row for the whole.

The texts pass through a batch at a time and are not kept; everything after this file sees numbers, ids and sources
only. It judges nothing: `suite` does.
"""

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.records import COPIED_RUNS
from privllm.core.split import SPLITS
from privllm.validate.drop_reasons import Cleaned, Collected
from privllm.validate.personal_data_left import KINDS, leftovers_of_column

STATISTICS = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("folder", pa.string()),  # first part of `source`, "." for a file at the top
        ("media_type", pa.string()),
        ("language", pa.string()),
        ("language_score", pa.float32()),  # null where no language was asked
        ("characters", pa.int32()),  # Unicode code points
        ("words", pa.int32()),  # runs of anything but white space, and letters of scripts that write none between words
        ("unique_words", pa.float32()),  # share of different words among the first `SAMPLE_WORDS`
        ("placeholders", pa.int32()),
        ("placeholder_density", pa.float32()),  # placeholders per word
        *((kind, pa.int32()) for kind in KINDS),  # personal data still there
        ("held_out_bytes", pa.int64()),  # UTF-8, of a validation or test document; 0 for one of training
        ("copied_bytes", pa.int64()),  # of those, in runs that training documents hold too
    ]
)
_, *HELD_OUT = SPLITS
SAMPLE_WORDS = 1000  # the share of different words falls with length (Heaps' law), so it is taken over equal lengths
UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Tibetan}\p{Myanmar}\p{Khmer}\p{Yi}]"


def columns_of(schema: pa.Schema) -> str:
    columns = [f"{field.name}: {field.type}" for field in schema]
    return ", ".join(columns)


def describe_documents(documents: pa.Table, copied_runs: pa.Table) -> pa.Table:
    """Return one row of `STATISTICS` per row of `records.DEDUPED`; a null becomes "" or 0, which the suite then judges.

    copied_runs: `records.COPIED_RUNS` of these documents, and maybe of others.
    """
    filled = {}
    for name in ("id", "source", "media_type", "text", "language", "language_score", "placeholders", "split"):
        column = documents[name]
        empty = "" if pa.types.is_string(column.type) else 0
        filled[name] = pc.fill_null(column, empty)
    texts = filled["text"].combine_chunks()
    words = words_of(texts)
    folders = [folder_of(source) for source in filled["source"].to_pylist()]
    shares_of_different_words = [unique_words(text) for text in texts.to_pylist()]
    has_no_language = pc.equal(filled["language"], "")
    placeholders = pc.cast(filled["placeholders"], pa.float64())
    columns = {
        **filled,
        "folder": pa.array(folders, pa.string()),
        "language_score": pc.if_else(has_no_language, None, filled["language_score"]),
        "characters": pc.utf8_length(texts),
        "words": words,
        "unique_words": pa.array(shares_of_different_words, pa.float32()),
        "placeholder_density": pc.divide(placeholders, pc.max_element_wise(words, 1)),
        **leftovers_of_column(texts),
        "held_out_bytes": pc.if_else(pc.is_in(filled["split"], pa.array(HELD_OUT)), pc.binary_length(texts), 0),
        "copied_bytes": copied_bytes(filled["id"], copied_runs),
    }
    return pa.table({name: columns[name] for name in STATISTICS.names}).cast(STATISTICS)


def copied_bytes(ids: pa.ChunkedArray, copied_runs: pa.Table) -> pa.Array:
    """Return how many bytes of each document lie in copied runs."""
    bytes_of: Counter[str] = Counter()
    for identifier, begin, end in zip(*(copied_runs[name].to_pylist() for name in COPIED_RUNS.names), strict=True):
        bytes_of[identifier] += end - begin
    return pa.array([bytes_of[identifier] for identifier in ids.to_pylist()], pa.int64())


def words_of(texts: pa.Array) -> pa.Array:
    """Return the number of runs of anything but white space in each text.

    Of scripts that write none each letter counts: a page would be one word.
    """
    trimmed = pc.utf8_trim_whitespace(texts)
    run_counts = pc.list_value_length(pc.utf8_split_whitespace(trimmed))
    run_counts = pc.if_else(pc.equal(trimmed, ""), 0, run_counts)
    return pc.add(run_counts, pc.count_substring_regex(texts, UNSPACED))


def folder_of(source: str) -> str:
    return source.split("/", 1)[0] if "/" in source else "."


def unique_words(text: str) -> float:
    """Return the share of different words, case ignored, among the first `SAMPLE_WORDS`; 1 for a text without words."""
    words = text.lower().split(None, SAMPLE_WORDS)[:SAMPLE_WORDS]
    return len(set(words)) / len(words) if words else 1.0


def totals(documents: pa.Table, language: str, collected: Collected, cleaned: Cleaned) -> dict[str, Any]:
    """Return the corpus in one row.

    `language` is the one expected, "" for the most frequent. What survives is a share of all that was
    found, whether it could be read or not; a document that was cut counts as the share of its sections does.
    """
    counts = counts_of(documents["language"])
    expected = language or max(counts, key=lambda name: (counts[name], name))
    words = pc.sum(documents["words"]).as_py()
    held_out_bytes, copied = (pc.sum(documents[name]).as_py() for name in ("held_out_bytes", "copied_bytes"))
    return {
        "documents": len(documents),
        "collected": collected.documents,
        "entered_clean": cleaned.documents_in,
        "kept": cleaned.kept,
        "survival_rate": cleaned.kept * cleaned.documents_in / max(1, collected.entries * cleaned.judged),
        "language": expected,
        "language_share": counts.get(expected, 0) / len(documents),
        "mean_characters": pc.sum(documents["characters"]).as_py() / len(documents),
        "mean_words": words / len(documents),
        "placeholder_density": pc.sum(documents["placeholders"]).as_py() / max(1, words),
        "copied_share": copied / max(1, held_out_bytes),
        "leftover_personal_data": sum(pc.sum(documents[kind]).as_py() for kind in KINDS),
    }


def counts_of(column: pa.ChunkedArray) -> dict[str, int]:
    """Return how often each value occurs, sorted by value."""
    counts = {}
    for pair in pc.value_counts(column).to_pylist():
        counts[pair["values"]] = pair["counts"]
    return dict(sorted(counts.items()))
