"""evaluate: a trained model and held-out rows in, figures out.

    data/pretrain/<family>, data/tokenizer, data/pack/test, data/dedup, data/annotate
        -> tokens/*.parquet     nats of every token scored, shard by shard (TOKEN_SCORES)
           documents.parquet    one row for each document scored (DOCUMENT_SCORES), kept for later comparisons
           slices.parquet       one row for each slice (SLICES); the slices of one kind add up to "all"
           samples.json         fixed-seed texts

It trains nothing and chooses no model: what is measured here must not steer this training. Its weak spots may steer
the next one, but they name a source or a length, never a document (`tokens.mixture`).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedModel

from privllm.core.errors import UserError
from privllm.core.report import write_json
from privllm.core.seed import name_digest, seed_of
from privllm.core.tables import read_table, shards_of, write_table
from privllm.engine.store import NO_STORE, Store
from privllm.evaluate.config import SHORTEST, EvaluateConfig
from privllm.evaluate.continuations import continuations
from privllm.evaluate.samples import decode, write_fillings, write_samples
from privllm.evaluate.scoring import ScoredPiece, choose_rows, loaded, score
from privllm.evaluate.slices import KINDS, AnnotatedDocument, Cells, bootstrap_interval, tally, total
from privllm.evaluate.weak_spots import weak_spots
from privllm.models.family import FAMILIES
from privllm.models.generate import SamplingConfig
from privllm.stats.text_overlap import overlap
from privllm.tokens.annotation_alignment import entities, parts_of_speech, token_bytes
from privllm.tokens.encode import Encoder
from privllm.tokens.rows import shards_in

DOCUMENT_SCORES = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("media_type", pa.string()),
        ("tokens", pa.int64()),  # scored: all, unless `max_rows` cut the document or the family hides only some
        ("bytes", pa.int64()),  # UTF-8, of those tokens
        ("nats", pa.float64()),
        ("correct", pa.int64()),
    ]
)
SPANS = ["id", "token_start", "token_end", "pos", "entity_start", "entity_end", "entity_label"]
SLICES = pa.schema([("kind", pa.string()), ("name", pa.string()), *list(DOCUMENT_SCORES)[3:]])


class EvaluateInputs(NamedTuple):
    """The folders that `evaluate` reads."""

    model: Path  # data/pretrain/<family>
    tokenizer: Path  # data/tokenizer
    rows: Path  # data/pack/test
    documents: Path  # data/dedup
    annotations: Path  # data/annotate


def evaluate(
    cfg: EvaluateConfig,
    inputs: EvaluateInputs,
    family: str,
    out: Path,
    store: Store = NO_STORE,
) -> dict[str, Any]:
    """Write `out` and return the report. Raises UserError when nothing is held out or the model is unusable."""
    model = loaded(family, inputs.model)
    encoder = Encoder.open(inputs.tokenizer)
    rows_by_shard = choose_rows(shards_in(inputs.rows), cfg.max_rows)
    row_count = sum(len(shard_rows.rows) for shard_rows in rows_by_shard)
    if not row_count:
        raise UserError(
            f"{inputs.rows} holds no document to judge the model by: add documents, or raise `split.test` in params.yaml."
        )
    scored: dict[str, list[ScoredPiece]] = defaultdict(list)
    for piece in score(family, inputs.model, rows_by_shard, cfg.batch_rows, out / "tokens", store):
        scored[piece.id].append(piece)
    token_sizes = token_bytes(encoder.reference.get_vocab())
    documents = list(read_documents(inputs, encoder, token_sizes, set(scored)))
    document_ids = {document.id for document in documents}
    assert document_ids == set(scored), "a held-out row names a document that is not in the corpus"
    cells = tally(documents, scored, token_sizes)
    document_scores = _write_tables(out, cells, documents)
    report = _figures(cfg, cells, document_scores, row_count)
    report |= _write_texts(cfg, family, model, encoder, documents, out / "samples.json")
    return report


def _write_texts(
    cfg: EvaluateConfig,
    family: str,
    model: PreTrainedModel,
    encoder: Encoder,
    documents: Sequence[AnnotatedDocument],
    samples_file: Path,
) -> dict[str, Any]:
    """Write the samples; return what the report says of continuations, {} for a family that fills gaps."""
    by_hash = sorted(documents, key=lambda document: name_digest("continue", document.id))
    tokens_by_id = {document.id: document.tokens.tolist() for document in by_hash}
    sampled = _first(tokens_by_id, cfg.samples)
    fill_gaps = FAMILIES[family].fill_gaps
    if fill_gaps is not None:
        fillings = write_fillings(fill_gaps, model, encoder, sampled, cfg.sample_tokens)
        write_json(samples_file, fillings)
        return {}
    figures = _continuations(cfg, model, encoder, tokens_by_id)
    sampling = SamplingConfig(max_new_tokens=cfg.sample_tokens, temperature=cfg.temperature, seed=cfg.seed)
    prompt_length = max(1, cfg.prompt_tokens // 2)
    write_json(samples_file, write_samples(model, encoder, sampled, prompt_length, sampling))
    return figures


def _continuations(
    cfg: EvaluateConfig,
    model: PreTrainedModel,
    encoder: Encoder,
    tokens_by_id: dict[str, list[int]],
) -> dict[str, Any]:
    """Return BLEU and chrF of what the model writes after the beginnings of documents that are long enough."""
    least = cfg.prompt_tokens + SHORTEST
    long_enough = {identifier: tokens for identifier, tokens in tokens_by_id.items() if len(tokens) >= least}
    continued = _first(long_enough, cfg.continuations)
    pairs = continuations(model, continued, cfg.prompt_tokens, cfg.continuation_tokens)
    if not pairs:
        return {"continuations": 0}
    written = [decode(encoder, tokens) for tokens, _ in pairs.values()]
    expected = [decode(encoder, tokens) for _, tokens in pairs.values()]
    return {"continuations": len(pairs), **overlap(written, expected)}


def _first(documents: dict[str, list[int]], limit: int) -> dict[str, list[int]]:
    """Return the first `limit` documents."""
    return dict(islice(documents.items(), limit))


def read_documents(
    inputs: EvaluateInputs,
    encoder: Encoder,
    token_sizes: np.ndarray,
    document_ids: set[str],
) -> Iterator[AnnotatedDocument]:
    """Yield these documents with their tokens and annotations, in shard order, by id within a shard."""
    ids = pa.array(sorted(document_ids), pa.string())
    for shard, annotated in zip(shards_of(inputs.documents), shards_of(inputs.annotations), strict=True):
        table = read_table(shard, ["id", "source", "media_type", "text"])
        table = table.filter(pc.is_in(table["id"], ids)).sort_by("id")
        annotations = read_table(annotated, SPANS)
        annotations = annotations.filter(pc.is_in(annotations["id"], ids))
        annotations_of = {row["id"]: row for row in annotations.to_pylist()}
        for row, tokens in zip(table.to_pylist(), encoder.encode(table["text"]), strict=True):
            aligned = row["text"], token_sizes[tokens], annotations_of.get(row["id"], {})
            yield AnnotatedDocument(
                id=row["id"],
                source=row["source"],
                media_type=row["media_type"],
                tokens=tokens,
                pos=parts_of_speech(*aligned),
                entities=entities(*aligned),
            )


def _write_tables(out: Path, cells: Cells, documents: Sequence[AnnotatedDocument]) -> list[dict[str, Any]]:
    """Write slices.parquet and documents.parquet; return the rows of the latter (DOCUMENT_SCORES)."""
    slice_rows = []
    for (kind, name), tallies in sorted(cells.items()):
        slice_rows.append({"kind": kind, "name": name} | vars(total(tallies.values())))
    write_table(pa.Table.from_pylist(slice_rows, SLICES), out / "slices.parquet")
    by_id = {document.id: document for document in documents}
    document_rows = []
    for identifier, document_tally in sorted(cells["all", "all"].items()):
        document = by_id[identifier]
        row = {"id": identifier, "source": document.source, "media_type": document.media_type}
        document_rows.append(row | vars(document_tally))
    write_table(pa.Table.from_pylist(document_rows, DOCUMENT_SCORES), out / "documents.parquet")
    return document_rows


def _figures(
    cfg: EvaluateConfig,
    cells: Cells,
    document_scores: list[dict[str, Any]],
    row_count: int,
) -> dict[str, Any]:
    tallies = {key: total(by_document.values()) for key, by_document in sorted(cells.items())}
    whole = tallies["all", "all"]
    if not whole.bytes:
        raise UserError(
            "no token of the held-out documents could be scored: they are too few or too short. Add documents, or raise `split.test`."
        )
    report: dict[str, Any] = whole.figures()
    report |= {"documents": len(document_scores), "rows": row_count, "bytes": whole.bytes}
    if cfg.bootstrap and len(document_scores) > 1:
        nats = np.array([row["nats"] for row in document_scores])
        sizes = np.array([row["bytes"] for row in document_scores])
        report["interval"] = bootstrap_interval(nats, sizes, cfg.bootstrap, seed_of("bootstrap", cfg.seed))
    spots, slices_compared = weak_spots(cells, cfg.bootstrap, seed_of("weak spots", cfg.seed))
    report["weak_spots"] = spots
    report["slices_compared"] = slices_compared
    report |= {kind: {} for kind in KINDS}
    for (kind, name), slice_tally in tallies.items():
        if kind in KINDS and slice_tally.bytes:
            report[kind][name] = slice_tally.figures()
    return report
