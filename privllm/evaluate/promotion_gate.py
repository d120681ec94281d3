"""gate: is this build's model at least as good as the one in use? Both are measured on the same things, and rules decide.

    <bits>_clean     on documents of today's test split, each model by its own tokenizer, as far as they were not copied from training;
                     what a family's bits per byte are called: `core.families`
    forgetting       the same, on those of them that the incumbent was judged on when it was promoted, if they are unchanged
    preferences      how often a model that converses agrees with the votes and corrections that were kept back, by weight
    tasks.<task>     the scores of tuned models, on the held-out examples that both were asked

    data/promoted/model/incumbent, data/align, data/evaluate, data/dedup, data/tokenizer, data/feedback_clean/held_out.jsonl,
    data/finetune
        -> data/gate/<family>.parquet (SCORES, the incumbent's)

Documents that the incumbent, or one that it began as, was trained on are left out for both models, and counted; `evaluate`
leaves out those of this build's model. A family that the incumbent lacks is not judged, and without an incumbent
nothing is. It changes no model and promotes none.
"""

import filecmp
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.base_model import DOCUMENTS, INCUMBENT
from privllm.core.families import TRAITS
from privllm.core.printable import say
from privllm.core.promoted import JUDGED, MANIFEST, TOKENIZER
from privllm.core.tables import read_table, write_table
from privllm.engine.store import NO_STORE, Store
from privllm.evaluate.held_out import is_clean, read_copied, shards_with, trained_on
from privllm.evaluate.recipe import TEST, EvaluateConfig
from privllm.evaluate.rules import Figure, GateConfig, report_of
from privllm.evaluate.scoring import ModelFiles, score
from privllm.feedback.preferences import FeedbackExample, encode_examples, read_held_out
from privllm.models.devices import place
from privllm.models.loading import context_of, load
from privllm.models.reply_likelihood import ReplyPair, agreement, preferred
from privllm.stats.difference import Difference, difference
from privllm.stats.document_scores import CLEAN_BITS, compare_documents
from privllm.stats.scores import Score
from privllm.tasks.example_scores import FILE, TASKS, shared
from privllm.tokens.chat_format import Speech
from privllm.tokens.encode import Encoder, is_lossy
from privllm.tokens.trained_documents import read_documents as read_trained

WEIGHTS = "model.safetensors"
SCORES = pa.schema(
    [
        ("id", pa.string()),
        ("tokens", pa.int64()),
        ("bytes", pa.int64()),
        ("nats", pa.float64()),
        ("correct", pa.int64()),
        ("clean_bytes", pa.int64()),
        ("clean_nats", pa.float64()),
    ]
)


class GateInputs(NamedTuple):
    """The folders that `gate` reads."""

    promoted: Path  # data/promoted/model
    models: Path  # data/align
    scores: Path  # data/evaluate
    documents: Path  # data/dedup
    tokenizer: Path  # data/tokenizer
    feedback: Path  # data/feedback_clean
    tuned: Path  # data/finetune


class GateSettings(NamedTuple):
    """The sections of params.yaml that the incumbent must be measured by too."""

    gate: GateConfig
    evaluate: EvaluateConfig


def gate(
    settings: GateSettings, inputs: GateInputs, own: Mapping[str, Figure], out: Path, store: Store = NO_STORE
) -> dict[str, Any]:
    """Write `out` and return the report, whose `passed` is the answer; `own` are figures that need no incumbent."""
    out.mkdir(parents=True, exist_ok=True)
    incumbent = inputs.promoted / INCUMBENT
    figures: dict[str, Figure] = {}
    families_built = sorted(path.name for path in inputs.scores.iterdir())
    families = [family for family in families_built if (incumbent / family).is_dir()]
    trained = read_trained(incumbent / DOCUMENTS)
    left_out = {}
    is_comparable = bool(families) and are_comparable(incumbent / TOKENIZER, inputs.tokenizer)
    if families and not is_comparable:
        say(
            "note: the two builds have different vocabularies, of which one changes a text, so bits of their models are not compared.",
            err=True,
        )
    for family in families:
        judged = judged_by_candidate(inputs, family)
        known = trained_on(inputs.documents, judged["id"].to_pylist(), trained)
        candidate_scores = judged.filter(pc.invert(pc.is_in(judged["id"], pa.array(sorted(known), pa.string()))))
        left_out[family] = len(known)
        incumbent_scores = scores_of(settings, inputs, family, candidate_scores, store)
        write_table(incumbent_scores, out / f"{family}.parquet")
        if is_comparable:
            figures |= dict(by_document(incumbent, family, incumbent_scores, candidate_scores))
    measured = {name.partition(".")[0] for name in figures}
    for family in families:
        if family in measured and TRAITS[family].can_converse:
            figures |= preferences(inputs, family)
    figures |= dict(of_tasks(incumbent / TASKS, inputs.tuned)) | dict(own)
    version = json.loads((incumbent / MANIFEST).read_text("utf-8"))["version"]
    return report_of(settings.gate, version, figures, left_out)


def judged_by_candidate(inputs: GateInputs, family: str) -> pa.Table:
    """Return this build's SCORES of documents of the test split, by id."""
    table = read_table(inputs.scores / family / "documents.parquet", ["split", *SCORES.names])
    return table.filter(pc.equal(table["split"], TEST)).select(SCORES.names)


def scores_of(
    settings: GateSettings, inputs: GateInputs, family: str, candidate_scores: pa.Table, store: Store
) -> pa.Table:
    """Return the incumbent's SCORES of the documents that this build's model was judged on, by id."""
    files = ModelFiles(family, inputs.promoted / INCUMBENT / family, inputs.promoted / INCUMBENT / TOKENIZER)
    same_tokens = filecmp.cmp(files.tokenizer / "tokenizer.json", inputs.tokenizer / "tokenizer.json", shallow=False)
    if same_tokens and filecmp.cmp(files.folder / WEIGHTS, inputs.models / family / WEIGHTS, shallow=False):
        return candidate_scores
    ids_by_shard = shards_with(inputs.documents, candidate_scores["id"].to_pylist())
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory(prefix="gate-") as scratch:
        scores = score(files, ids_by_shard, settings.evaluate.batch_rows, Path(scratch), store)
        clean_of = _clean_tokens(inputs.documents, files.tokenizer, ids_by_shard)
        for document in scores:
            sizes, clean = clean_of[document.id]
            counted, is_counted = sizes[document.places], clean[document.places]
            row = {
                "id": document.id,
                "tokens": len(counted),
                "bytes": int(counted.sum()),
                "nats": float(document.nats.sum()),
                "correct": int(document.correct.sum()),
                "clean_bytes": int(counted[is_counted].sum()),
                "clean_nats": float(document.nats[is_counted].sum()),
            }
            rows.append(row)
    rows.sort(key=lambda row: row["id"])
    return pa.Table.from_pylist(rows, SCORES)


def _clean_tokens(
    documents: Path, tokenizer: Path, ids_by_shard: Mapping[Path, Sequence[str]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the bytes of each token of each document and of its end, and which were not copied from training."""
    encoder = Encoder.open(tokenizer)
    clean_of = {}
    for shard, ids in ids_by_shard.items():
        table = read_table(shard, ["id", "text"])
        table = table.filter(pc.is_in(table["id"], pa.array(ids, pa.string())))
        copied_of = read_copied(documents, shard)
        for identifier, (_, sizes) in zip(table["id"].to_pylist(), encoder.encode_sized(table["text"]), strict=True):
            clean_of[identifier] = np.append(sizes, 0), is_clean(sizes, copied_of.get(identifier, []))
    return clean_of


def are_comparable(incumbent: Path, candidate: Path) -> bool:
    """Return whether models with these tokenizers pay for the same bytes: what a lossy vocabulary leaves out of a text costs nothing."""
    definitions = [json.loads((folder / "tokenizer.json").read_text("utf-8")) for folder in (incumbent, candidate)]
    return definitions[0] == definitions[1] or not any(map(is_lossy, definitions))


def by_document(
    incumbent: Path,
    family: str,
    incumbent_scores: pa.Table,
    candidate_scores: pa.Table,
) -> Iterator[tuple[str, Figure]]:
    """Yield (name, figure) of the clean text of documents that both models read, and of those judged before.

    The latter are documents that the incumbent was judged on when it was promoted, and whose size is unchanged.
    """
    judged_before = read_table(incumbent / JUDGED / f"{family}.parquet", ["id", "bytes"])
    sizes = dict(zip(judged_before["id"].to_pylist(), judged_before["bytes"].to_pylist(), strict=True))
    is_unchanged = []
    for row in candidate_scores.select(["id", "bytes"]).to_pylist():
        is_unchanged.append(sizes.get(row["id"]) == row["bytes"])
    unchanged = candidate_scores.filter(pa.array(is_unchanged, pa.bool_()))
    tables = {TRAITS[family].clean_bits: candidate_scores, "forgetting": unchanged}
    with_clean = incumbent_scores.filter(pc.greater(incumbent_scores["clean_bytes"], 0))
    for name, table in tables.items():
        both = table.filter(pc.greater(table["clean_bytes"], 0))
        in_both = with_clean.filter(pc.is_in(with_clean["id"], both["id"]))
        overlap, differences = compare_documents(in_both, both, [CLEAN_BITS])
        if differences:
            yield f"{family}.{name}", figure_of(differences[CLEAN_BITS], overlap.common)


def figure_of(measured: Difference, units: int) -> Figure:
    """Return the difference of candidate (b) and incumbent (a) as a figure of the gate."""
    return Figure(measured.a, measured.b, measured.interval, units)


def preferences(inputs: GateInputs, family: str) -> dict[str, Figure]:
    """Return how often each model finds the reply likelier that people preferred.

    It is {} where no judgement that both can read was kept back.
    """
    lessons = read_held_out(inputs.feedback).preferences
    incumbent = inputs.promoted / INCUMBENT
    incumbent_agrees = _agreement(lessons, family, incumbent / family, incumbent / TOKENIZER)
    candidate_agrees = _agreement(lessons, family, inputs.models / family, inputs.tokenizer)
    in_both = [lesson for lesson in lessons if lesson.id in incumbent_agrees and lesson.id in candidate_agrees]
    if not in_both:
        return {}
    weights = np.array([lesson.weight for lesson in in_both])
    incumbent_share = np.array([incumbent_agrees[lesson.id] for lesson in in_both])
    candidate_share = np.array([candidate_agrees[lesson.id] for lesson in in_both])
    before = Score(over=weights * incumbent_share, under=weights)
    after = Score(over=weights * candidate_share, under=weights)
    openings = [lesson.opening for lesson in in_both]
    return {f"{family}.preferences": compare_scores(before, after, openings)}


def of_tasks(promoted: Path, tuned: Path) -> Iterator[tuple[str, Figure]]:
    """Yield (name, figure) of every score of every task that both builds have."""
    for incumbent_file in sorted(promoted.glob("*.parquet")):
        task = incumbent_file.stem
        candidate_file = tuned / task / FILE
        if not candidate_file.is_file():
            continue
        for name, scores in shared(incumbent_file, candidate_file).items():
            yield f"tasks.{task}.{name}", compare_scores(scores.old, scores.new, scores.groups)


def compare_scores(before: Score, after: Score, groups: list[str]) -> Figure:
    """Return the figure of two scores of the same examples, whose groups the interval counts."""
    return figure_of(difference(before, after, groups), len(groups))


def _agreement(lessons: list[FeedbackExample], family: str, folder: Path, tokenizer: Path) -> dict[str, float]:
    """Return {lesson: 1 where the model agrees, 0 where it does not} of the lessons that it can read."""
    speech, model = Speech(tokenizer), place(load(family, folder))
    context = context_of(model.config)

    def encode(lesson: FeedbackExample) -> Any:
        return speech.exchange(lesson.turns, lesson.replies, context)

    encoded = encode_examples(lessons, encode).kept
    pairs = [ReplyPair(exchange.prompt, *exchange.replies) for _, exchange in encoded]
    values = agreement(preferred(model, pairs).mean).tolist()
    ids = [lesson.id for lesson, _ in encoded]
    return dict(zip(ids, values, strict=True))
