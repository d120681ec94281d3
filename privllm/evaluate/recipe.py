"""evaluate: a trained model and held-out documents in, figures out.

    data/align/<family>, data/tokenizer, data/dedup, data/annotate, data/start/<family>
        -> tokens/*.parquet     nats of every token scored, shard by shard (TOKEN_SCORES)
           documents.parquet    one row for each document scored (DOCUMENT_SCORES), kept for later comparisons
           slices.parquet       one row for each slice (SLICES); the slices of one kind add up to "all"
           samples.json         fixed-seed texts
           figures.json         what the gate judges without an incumbent: what was forgotten, what leaves the house

Both held-out splits are scored. People and the next training choose by figures of the validation split: those of the
report itself, slices, weak spots, texts. What stands under "test" is of the test split, which nobody chooses by: the gate
and the model card report it. It trains nothing and chooses no model. Weak spots may steer the next training, but they name
a source or a length, never a document (`tokens.mixture`).

Figures come twice: of all text, and `_clean`, of what was not copied from training (`held_out`). Slices and weak spots
are of clean text.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedModel

from privllm.core.base_model import BASE, DOCUMENTS
from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.report import write_json
from privllm.core.seed import name_digest, seed_of
from privllm.core.special_tokens import SpecialIds
from privllm.core.tables import read_table, write_table
from privllm.engine.store import NO_STORE, Store
from privllm.evaluate.base_comparison import compare_with_base
from privllm.evaluate.config import SHORTEST, EvaluateConfig
from privllm.evaluate.continuations import continuations
from privllm.evaluate.forgetting import compare_general, replies_in, score_general
from privllm.evaluate.held_out import HELD_OUT, Choice, choose_documents, is_clean, read_copied
from privllm.evaluate.leaks import draws_of, find_leaks
from privllm.evaluate.rules import FIGURES, LEAKS, REMEMBERED
from privllm.evaluate.samples import decode, write_fillings, write_samples
from privllm.evaluate.scoring import ModelFiles, loaded, score
from privllm.evaluate.slices import END, KINDS, AnnotatedDocument, Cells, Tally, tally, total
from privllm.evaluate.weak_spots import weak_spots
from privllm.models.base_weights import load_base, note_of
from privllm.models.devices import place
from privllm.models.family import FAMILIES
from privllm.models.generate import SamplingConfig
from privllm.models.loading import context_of
from privllm.stats.difference import interval_of
from privllm.stats.scores import Score
from privllm.stats.text_overlap import overlap, overlap_intervals
from privllm.tokens.annotation_alignment import entities, parts_of_speech
from privllm.tokens.chat_format import Speech
from privllm.tokens.encode import Encoder
from privllm.tokens.general_text import MEASURED, read_general
from privllm.tokens.special_ids import special_ids
from privllm.tokens.trained_documents import read_documents as read_trained

VALIDATION, TEST = HELD_OUT
SUMS = [
    ("tokens", pa.int64()),  # scored, ends of documents included; a family that hides only some scores only those
    ("bytes", pa.int64()),  # UTF-8, of those tokens
    ("nats", pa.float64()),
    ("correct", pa.int64()),
]
DOCUMENT_SCORES = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),
        ("media_type", pa.string()),
        *SUMS,
        ("clean_bytes", pa.int64()),  # of the tokens that lie outside of what was copied from training
        ("clean_nats", pa.float64()),
    ]
)
SPANS = ["id", "token_start", "token_end", "pos", "entity_start", "entity_end", "entity_label"]
SLICES = pa.schema([("kind", pa.string()), ("name", pa.string()), *SUMS])


class EvaluateInputs(NamedTuple):
    """The folders that `evaluate` reads."""

    model: Path  # data/align/<family>
    tokenizer: Path  # data/tokenizer
    documents: Path  # data/dedup
    annotations: Path  # data/annotate
    start: Path  # data/start/<family>


class Measured(NamedTuple):
    """The documents of one split and the sums of their tokens by slice, of all text and of clean text."""

    documents: list[AnnotatedDocument]
    all: Cells
    clean: Cells


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
    special = special_ids(inputs.tokenizer)
    chosen = choose_documents(inputs.documents, cfg.max_bytes, read_trained(inputs.start / DOCUMENTS))
    _require_both_splits(chosen, inputs.documents)
    files = ModelFiles(family, inputs.model, inputs.tokenizer)
    pieces = score(files, chosen.ids_by_shard, cfg.batch_rows, out / "tokens", store)
    scored = {document.id: document for document in pieces}
    documents = list(read_documents(inputs, encoder, special, chosen.ids_by_shard))
    by_split: dict[str, Measured] = {}
    for split in HELD_OUT:
        of_split = [document for document in documents if chosen.split_of[document.id] == split]
        by_split[split] = Measured(of_split, tally(of_split, scored, False), tally(of_split, scored, True))
    _write_tables(out, by_split)
    report = _figures(cfg, family, by_split[VALIDATION], chosen.left_out[VALIDATION])
    report |= _write_texts(cfg, family, model, special, encoder, by_split[VALIDATION].documents, out / "samples.json")
    report[TEST] = _sums(family, by_split[TEST], chosen.left_out[TEST])
    figures: dict[str, Any] = {}
    if TRAITS[family].continues_text and cfg.own_texts:
        draws = draws_of(model.config, cfg.own_texts, cfg.own_text_tokens, cfg.seed)
        with TemporaryDirectory(prefix="own-texts-", dir=out) as scratch:
            figures[LEAKS] = find_leaks(
                draws, family, inputs.model, inputs.tokenizer, special, inputs.documents, Path(scratch), store
            )
    general = read_general(inputs.start, MEASURED)
    general_after = score_general(family, model, special, general, cfg.batch_rows)
    context = context_of(model.config)
    del model  # two need not lie in memory
    loaded.cache_clear()
    origin = note_of(inputs.start)["start"]
    if BASE.fullmatch(origin):
        base = place(load_base(family, inputs.start, special, context))
        of_test = by_split[TEST].documents
        if before := compare_with_base(family, base, special, of_test, scored, cfg.batch_rows):
            report[TEST]["before"] = {"base": origin} | before
        if general:
            general_before = score_general(family, base, special, general, cfg.batch_rows)
            replies = replies_in(general, Speech(inputs.tokenizer)) if TRAITS[family].can_converse else {}
            figures[REMEMBERED] = compare_general(general_before, general_after, replies)
    write_json(out / FIGURES, figures)
    return report | figures


def _require_both_splits(chosen: Choice, documents: Path) -> None:
    """Raise UserError where a split has no document to judge by."""
    for split in HELD_OUT:
        if split not in chosen.split_of.values():
            known = ""
            if chosen.left_out[split]:
                known = f" (the model was trained before on all {chosen.left_out[split]:,} that there are)"
            raise UserError(
                f"{documents} holds no document of the {split} split to judge the model by{known}: "
                f"add documents, or raise `split.{split}` in params.yaml."
            )


def _write_texts(
    cfg: EvaluateConfig,
    family: str,
    model: PreTrainedModel,
    special: SpecialIds,
    encoder: Encoder,
    documents: Sequence[AnnotatedDocument],
    samples_file: Path,
) -> dict[str, Any]:
    """Write the samples; return what the report says of continuations, {} for a family that fills gaps."""
    by_hash = sorted(documents, key=lambda document: name_digest("continue", document.id))
    tokens_by_id = {document.id: document.tokens[:-1].tolist() for document in by_hash}
    sampled = _first(tokens_by_id, cfg.samples)
    fill_gaps = FAMILIES[family].fill_gaps
    if fill_gaps is not None:
        fillings = write_fillings(fill_gaps, model, special, encoder, sampled, cfg.sample_tokens)
        write_json(samples_file, fillings)
        return {}
    figures = _continuations(cfg, model, special, encoder, tokens_by_id)
    sampling = SamplingConfig(max_new_tokens=cfg.sample_tokens, temperature=cfg.temperature, seed=cfg.seed)
    prompt_length = max(1, cfg.prompt_tokens // 2)
    write_json(samples_file, write_samples(model, special, encoder, sampled, prompt_length, sampling))
    return figures


def _continuations(
    cfg: EvaluateConfig,
    model: PreTrainedModel,
    special: SpecialIds,
    encoder: Encoder,
    tokens_by_id: dict[str, list[int]],
) -> dict[str, Any]:
    """Return BLEU and chrF of what the model writes after the beginnings of documents that are long enough."""
    least = cfg.prompt_tokens + SHORTEST
    long_enough = {identifier: tokens for identifier, tokens in tokens_by_id.items() if len(tokens) >= least}
    continued = _first(long_enough, cfg.continuations)
    pairs = continuations(model, special, continued, cfg.prompt_tokens, cfg.continuation_tokens)
    if not pairs:
        return {"continuations": 0}
    written = [decode(encoder, tokens) for tokens, _ in pairs.values()]
    expected = [decode(encoder, tokens) for _, tokens in pairs.values()]
    return {"continuations": len(pairs), **overlap(written, expected), **overlap_intervals(written, expected)}


def _first(documents: dict[str, list[int]], limit: int) -> dict[str, list[int]]:
    """Return the first `limit` documents."""
    return dict(islice(documents.items(), limit))


def read_documents(
    inputs: EvaluateInputs, encoder: Encoder, special: SpecialIds, ids_by_shard: Mapping[Path, Sequence[str]]
) -> Iterator[AnnotatedDocument]:
    """Yield these documents with their tokens and annotations, in shard order, by id within a shard."""
    for shard, ids in ids_by_shard.items():
        wanted = pa.array(ids, pa.string())
        table = read_table(shard, ["id", "source", "media_type", "text"])
        table = table.filter(pc.is_in(table["id"], wanted)).sort_by("id")
        annotations = read_table(inputs.annotations / shard.name, SPANS)
        annotations = annotations.filter(pc.is_in(annotations["id"], wanted))
        annotations_of = {row["id"]: row for row in annotations.to_pylist()}
        copied_of = read_copied(inputs.documents, shard)
        for row, (tokens, sizes) in zip(table.to_pylist(), encoder.encode_sized(table["text"]), strict=True):
            aligned = row["text"], sizes, annotations_of.get(row["id"], {})
            yield AnnotatedDocument(
                id=row["id"],
                source=row["source"],
                media_type=row["media_type"],
                size=int(sizes.sum()),
                tokens=np.append(tokens, special.end),
                sizes=np.append(sizes, 0),
                pos=np.append(parts_of_speech(*aligned), END),
                entities=np.append(entities(*aligned), END),
                clean=is_clean(sizes, copied_of.get(row["id"], [])),
            )


def _write_tables(out: Path, by_split: Mapping[str, Measured]) -> None:
    """Write slices.parquet, of clean validation text, and documents.parquet, of both splits."""
    slice_rows = []
    for (kind, name), tallies in sorted(by_split[VALIDATION].clean.items()):
        slice_rows.append({"kind": kind, "name": name} | vars(total(tallies.values())))
    write_table(pa.Table.from_pylist(slice_rows, SLICES), out / "slices.parquet")
    document_rows = []
    for split, measured in by_split.items():
        by_id = {document.id: document for document in measured.documents}
        clean = measured.clean.get(("all", "all"), {})
        for identifier, sums in measured.all.get(("all", "all"), {}).items():
            document, of_clean = by_id[identifier], clean.get(identifier, Tally())
            row = {"id": identifier, "split": split, "source": document.source, "media_type": document.media_type}
            row |= vars(sums) | {"clean_bytes": of_clean.bytes, "clean_nats": of_clean.nats}
            document_rows.append(row)
    document_rows.sort(key=lambda row: row["id"])
    write_table(pa.Table.from_pylist(document_rows, DOCUMENT_SCORES), out / "documents.parquet")


def _sums(family: str, measured: Measured, left_out: int) -> dict[str, Any]:
    """Return the figures of all text of a split, bits per byte of its clean text, and their intervals over documents."""
    traits = TRAITS[family]
    of_all = measured.all.get(("all", "all"), {})
    whole = total(of_all.values())
    if not whole.bytes:
        raise UserError(
            "no token of the held-out documents could be scored: they are too few or too short. Add documents, or raise "
            "`split.validation` and `split.test`."
        )
    report: dict[str, Any] = whole.figures(traits.bits)
    report |= {"documents": len(of_all), "bytes": whole.bytes, "left_out": left_out}
    of_clean = {name: sums for name, sums in measured.clean.get(("all", "all"), {}).items() if sums.bytes}
    clean = total(of_clean.values())
    report |= {"clean_documents": len(of_clean), "clean_bytes": clean.bytes}
    if clean.bytes:
        report[traits.clean_bits] = clean.figures(traits.bits)[traits.bits]
    for name, by_document in (("interval", of_all), ("clean_interval", of_clean)):
        if interval := _interval(by_document):
            report[name] = list(interval)
    return report


def _interval(by_document: Mapping[str, Tally]) -> tuple[float, float] | None:
    """Return the 95 % interval of bits per byte over documents; None for too few."""
    tallies = list(by_document.values())
    bits = np.array([sums.nats / math.log(2) for sums in tallies])
    sizes = np.array([sums.bytes for sums in tallies], float)
    return interval_of(Score(bits, sizes), list(by_document))


def _figures(cfg: EvaluateConfig, family: str, measured: Measured, left_out: int) -> dict[str, Any]:
    """Return the figures of a split, its slices and its weak spots."""
    report = _sums(family, measured, left_out)
    spots, slices_compared = weak_spots(measured.clean, cfg.bootstrap, seed_of("weak spots", cfg.seed))
    report["weak_spots"] = spots
    report["slices_compared"] = slices_compared
    report |= {kind: {} for kind in KINDS}
    for (kind, name), by_document in sorted(measured.clean.items()):
        slice_tally = total(by_document.values())
        if kind in KINDS and slice_tally.bytes:
            report[kind][name] = slice_tally.figures(TRAITS[family].bits)
    return report
