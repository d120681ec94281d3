"""evaluate: a trained model and held-out rows in, figures out.

    data/pretrain/<family>, data/tokenizer, data/pack/test, data/dedup, data/annotate
        -> tokens/*.parquet     nats of every token scored, shard by shard (TOKEN_SCORES)
           documents.parquet    one row for each document scored (DOCUMENT_SCORES), kept for later comparisons
           slices.parquet       one row for each slice (SLICES); the slices of one kind add up to "all"
           samples.json         fixed-seed texts

It trains nothing and chooses no model: what is measured here must not steer this training. Its weak spots may steer the next one, of which
they say a source or a length, never a document (`tokens.mixture`).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
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
from privllm.evaluate.samples import decode, fillings, write_samples
from privllm.evaluate.scoring import Scored, choose_rows, loaded, score
from privllm.evaluate.slices import KINDS, Cells, Document, bootstrap_interval, tally, total
from privllm.evaluate.weak_spots import weak_spots
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
        ("tokens", pa.int64()),  # scored: all of the document's, unless `max_rows` cut it, or seq2seq hid some only
        ("bytes", pa.int64()),  # UTF-8, of those tokens
        ("nats", pa.float64()),
        ("correct", pa.int64()),
    ]
)
SPANS = ["id", "token_start", "token_end", "pos", "entity_start", "entity_end", "entity_label"]
SLICES = pa.schema([("kind", pa.string()), ("name", pa.string()), *list(DOCUMENT_SCORES)[3:]])


class Inputs(NamedTuple):
    """The folders that `evaluate` reads."""

    model: Path  # data/pretrain/<family>
    tokenizer: Path  # data/tokenizer
    rows: Path  # data/pack/test
    documents: Path  # data/dedup
    annotations: Path  # data/annotate


def evaluate(cfg: EvaluateConfig, inputs: Inputs, family: str, out: Path, store: Store = NO_STORE) -> dict[str, Any]:
    """Write `out` and return the report. Raises UserError when nothing is held out or the model is unusable."""
    model, encoder = loaded(family, inputs.model), Encoder.open(inputs.tokenizer)
    chosen = choose_rows(shards_in(inputs.rows), cfg.max_rows)
    if not (rows := sum(len(one.rows) for one in chosen)):
        raise UserError(f"{inputs.rows} holds no document to judge the model by: add documents, or raise `split.test` in params.yaml.")
    scored: dict[str, list[Scored]] = defaultdict(list)
    for part in score(family, inputs.model, chosen, cfg.batch_rows, out / "tokens", store):
        scored[part.id].append(part)
    sizes = token_bytes(encoder.reference.get_vocab())
    documents = list(read_documents(inputs, encoder, sizes, set(scored)))
    assert {document.id for document in documents} == set(scored), "a held-out row names a document that is not in the corpus"
    cells = tally(documents, scored, sizes)
    by_document = _write(out, cells, documents)
    report = _figures(cfg, cells, by_document, rows)
    by_hash = sorted(documents, key=lambda document: name_digest("continue", document.id))
    texts = {d.id: d.tokens.tolist() for d in by_hash}
    if family == "causal":
        report |= _continuations(cfg, model, encoder, texts)
        sampling = SamplingConfig(max_new_tokens=cfg.sample_tokens, temperature=cfg.temperature, seed=cfg.seed)
        samples = write_samples(model, encoder, _first(texts, cfg.samples), cfg.prompt_tokens // 2 or 1, sampling)
    else:
        samples = fillings(family, model, encoder, _first(texts, cfg.samples), cfg.sample_tokens)
    write_json(out / "samples.json", samples)
    return report


def _continuations(cfg: EvaluateConfig, model: PreTrainedModel, encoder: Encoder, texts: dict[str, list[int]]) -> dict[str, Any]:
    """BLEU and chrF of what the model writes after the beginnings of documents that are long enough."""
    long_enough = {i: tokens for i, tokens in texts.items() if len(tokens) >= cfg.prompt_tokens + SHORTEST}
    made = continuations(model, _first(long_enough, cfg.continuations), cfg.prompt_tokens, cfg.continuation_tokens)
    found = overlap(*([decode(encoder, pair[side]) for pair in made.values()] for side in (0, 1))) if made else {}
    return {"continuations": len(made), **found}


def _first(documents: dict[str, list[int]], limit: int) -> dict[str, list[int]]:
    return dict(list(documents.items())[:limit])


def read_documents(inputs: Inputs, encoder: Encoder, sizes: np.ndarray, wanted: set[str]) -> Iterator[Document]:
    """The wanted documents with their tokens and parts of speech, in shard order, by id within a shard."""
    ids = pa.array(sorted(wanted), pa.string())
    for shard, annotated in zip(shards_of(inputs.documents), shards_of(inputs.annotations), strict=True):
        table = read_table(shard, ["id", "source", "media_type", "text"])
        table = table.filter(pc.is_in(table["id"], ids)).sort_by("id")
        spans = read_table(annotated, SPANS)
        spans_of = {row["id"]: row for row in spans.filter(pc.is_in(spans["id"], ids)).to_pylist()}
        for row, tokens in zip(table.to_pylist(), encoder.encode(table["text"]), strict=True):
            known = row["text"], sizes[tokens], spans_of.get(row["id"], {})
            yield Document(row["id"], row["source"], row["media_type"], tokens, parts_of_speech(*known), entities(*known))


def _write(out: Path, cells: Cells, documents: Sequence[Document]) -> list[dict[str, Any]]:
    """Write the tables; returns the rows of DOCUMENT_SCORES."""
    rows = [{"kind": kind, "name": name} | vars(total(parts.values())) for (kind, name), parts in sorted(cells.items())]
    write_table(pa.Table.from_pylist(rows, SLICES), out / "slices.parquet")
    named = {document.id: {"id": document.id, "source": document.source, "media_type": document.media_type} for document in documents}
    by_document = [named[identifier] | vars(own) for identifier, own in sorted(cells["all", "all"].items())]
    write_table(pa.Table.from_pylist(by_document, DOCUMENT_SCORES), out / "documents.parquet")
    return by_document


def _figures(cfg: EvaluateConfig, cells: Cells, by_document: list[dict[str, Any]], rows: int) -> dict[str, Any]:
    tallies = {key: total(parts.values()) for key, parts in sorted(cells.items())}
    whole = tallies["all", "all"]
    report: dict[str, Any] = whole.figures() | {"documents": len(by_document), "rows": rows, "bytes": whole.bytes}
    if cfg.bootstrap and len(by_document) > 1:
        nats, sizes = (np.array([row[key] for row in by_document]) for key in ("nats", "bytes"))
        report["interval"] = bootstrap_interval(nats, sizes, cfg.bootstrap, seed_of("bootstrap", cfg.seed))
    report["weak_spots"], report["slices_compared"] = weak_spots(cells, cfg.bootstrap, seed_of("weak spots", cfg.seed))
    return report | {kind: {name: one.figures() for (of, name), one in tallies.items() if of == kind} for kind in KINDS}
