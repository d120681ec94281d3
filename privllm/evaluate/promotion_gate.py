"""gate: is this build's model at least as good as the one in use? Both are measured on the same things, and rules decide.

    bits_per_byte    on the held-out documents of today's corpus, each model by its own tokenizer
    forgetting       the same, on those of them that the incumbent was judged on when it was promoted, if they are unchanged
    preferences      how often a model that converses agrees with the votes and corrections that were kept back, by weight
    tasks.<task>     the scores of tuned models, on the held-out examples that both were asked

    data/promoted/model/incumbent, data/align, data/evaluate, data/pack, data/dedup, data/tokenizer, data/feedback_clean/held_out.jsonl,
    data/finetune
        -> data/gate/<family>.parquet (SCORES, the incumbent's)

A family that the incumbent lacks is not judged, and without an incumbent nothing is. It changes no model and promotes none.
"""

import filecmp
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.base_model import INCUMBENT
from privllm.core.families import TRAITS
from privllm.core.promoted import JUDGED, MANIFEST, TOKENIZER
from privllm.core.tables import by_id, read_table, shards_of, write_table
from privllm.engine.store import NO_STORE, Store
from privllm.evaluate.recipe import EvaluateConfig
from privllm.evaluate.rules import Figure, GateConfig, report_of
from privllm.evaluate.scoring import choose_rows, score
from privllm.evaluate.slices import Tally
from privllm.feedback.preferences import FeedbackExample, encode_examples, read_held_out
from privllm.models.loading import config_of, context_of, load
from privllm.models.reply_likelihood import ReplyPair, agreement, preferred
from privllm.stats.difference import Difference, difference
from privllm.stats.document_scores import compare_documents
from privllm.stats.scores import Score
from privllm.tasks.example_scores import FILE, TASKS, shared
from privllm.tokens.annotation_alignment import token_bytes
from privllm.tokens.chat_format import Speech
from privllm.tokens.encode import Encoder
from privllm.tokens.pack import pack_rows
from privllm.tokens.rows import open_rows, shards_in, write_rows

TEST = "test"
WEIGHTS = "model.safetensors"
SCORES = pa.schema(
    [
        ("id", pa.string()),
        ("tokens", pa.int64()),
        ("bytes", pa.int64()),
        ("nats", pa.float64()),
        ("correct", pa.int64()),
    ]
)


class GateInputs(NamedTuple):
    """The folders that `gate` reads."""

    promoted: Path  # data/promoted/model
    models: Path  # data/align
    scores: Path  # data/evaluate
    packed: Path  # data/pack
    documents: Path  # data/dedup
    tokenizer: Path  # data/tokenizer
    feedback: Path  # data/feedback_clean
    tuned: Path  # data/finetune


class GateSettings(NamedTuple):
    """The sections of params.yaml that the incumbent must be measured by too."""

    gate: GateConfig
    evaluate: EvaluateConfig


def gate(settings: GateSettings, inputs: GateInputs, out: Path, store: Store = NO_STORE) -> dict[str, Any]:
    """Write `out` and return the report, whose `passed` is the answer."""
    out.mkdir(parents=True, exist_ok=True)
    incumbent = inputs.promoted / INCUMBENT
    figures: dict[str, Figure] = {}
    families_built = sorted(path.name for path in inputs.scores.iterdir())
    families = [family for family in families_built if (incumbent / family).is_dir()]
    for family in families:
        incumbent_scores = scores_of(settings, inputs, family, store)
        write_table(incumbent_scores, out / f"{family}.parquet")
        candidate_scores = read_table(inputs.scores / family / "documents.parquet", SCORES.names)
        figures |= dict(by_document(incumbent, family, incumbent_scores, candidate_scores))
    measured = {name.partition(".")[0] for name in figures}
    for family in families:
        if family in measured and TRAITS[family].can_converse:
            figures |= preferences(inputs, family)
    figures |= dict(of_tasks(incumbent / TASKS, inputs.tuned))
    version = json.loads((incumbent / MANIFEST).read_text("utf-8"))["version"]
    return report_of(settings.gate, version, figures)


def scores_of(settings: GateSettings, inputs: GateInputs, family: str, store: Store) -> pa.Table:
    """Return the incumbent's SCORES of today's held-out documents, by id."""
    folder = inputs.promoted / INCUMBENT / family
    tokenizer = inputs.promoted / INCUMBENT / TOKENIZER
    tokenizer_file = tokenizer / "tokenizer.json"
    same_tokens = filecmp.cmp(tokenizer_file, inputs.tokenizer / "tokenizer.json", shallow=False)
    if same_tokens and filecmp.cmp(folder / WEIGHTS, inputs.models / family / WEIGHTS, shallow=False):
        return read_table(inputs.scores / family / "documents.parquet", SCORES.names)
    context = context_of(config_of(folder))
    tallies: dict[str, Tally] = defaultdict(Tally)
    with TemporaryDirectory(prefix="gate-") as scratch:
        rows = inputs.packed / TEST
        if not same_tokens or open_rows(rows).row_length - 1 > context:
            rows = Path(scratch, "rows")
            jobs = [(context, tokenizer_file, shard) for shard in shards_of(inputs.documents)]
            store.map(pack_held_out, jobs, rows, "pack for the incumbent")
        rows_by_shard = choose_rows(shards_in(rows), settings.evaluate.max_rows)
        token_sizes = token_bytes(Encoder.open(tokenizer).reference.get_vocab())
        pieces = score(family, folder, rows_by_shard, settings.evaluate.batch_rows, Path(scratch, "tokens"), store)
        for piece in pieces:
            tallies[piece.id].add(token_sizes[piece.labels], piece.nats, piece.correct)
    scores = [{"id": name} | vars(document_tally) for name, document_tally in sorted(tallies.items())]
    return pa.Table.from_pylist(scores, SCORES)


def pack_held_out(out: Path, context: int, tokenizer_file: Path, shard: Path) -> None:
    """Write the held-out documents of one shard as rows of another tokenizer's tokens."""
    table = by_id(read_table(shard, ["id", "text", "split"]))
    held_out = table.filter(pc.equal(table["split"], TEST))
    encoder = Encoder.open(tokenizer_file.parent)
    packed = pack_rows(encoder.encode(held_out["text"]), held_out["id"].combine_chunks(), context)
    write_rows(packed.input_ids, packed.pieces, context, out / f"{shard.stem}.arrow")


def by_document(
    incumbent: Path,
    family: str,
    incumbent_scores: pa.Table,
    candidate_scores: pa.Table,
) -> Iterator[tuple[str, Figure]]:
    """Yield (name, figure) of the held-out documents that both models read, and of those judged before.

    The latter are documents that the incumbent was judged on when it was promoted, and whose size is unchanged.
    """
    judged_before = read_table(incumbent / JUDGED / f"{family}.parquet", ["id", "bytes"])
    sizes = dict(zip(judged_before["id"].to_pylist(), judged_before["bytes"].to_pylist(), strict=True))
    is_unchanged = []
    for row in candidate_scores.select(["id", "bytes"]).to_pylist():
        is_unchanged.append(sizes.get(row["id"]) == row["bytes"])
    unchanged = candidate_scores.filter(pa.array(is_unchanged, pa.bool_()))
    tables = {"bits_per_byte": candidate_scores, "forgetting": unchanged}
    for name, table in tables.items():
        in_both = incumbent_scores.filter(pc.is_in(incumbent_scores["id"], table["id"]))
        overlap, differences = compare_documents(in_both, table, ["bits_per_byte"])
        if differences:
            yield f"{family}.{name}", figure_of(differences["bits_per_byte"], overlap.common)


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
    speech, model = Speech(tokenizer), load(family, folder)
    context = context_of(model.config)

    def encode(lesson: FeedbackExample) -> Any:
        return speech.exchange(lesson.turns, lesson.replies, context)

    encoded = encode_examples(lessons, encode).kept
    pairs = [ReplyPair(exchange.prompt, *exchange.replies) for _, exchange in encoded]
    values = agreement(preferred(model, pairs).mean).tolist()
    ids = [lesson.id for lesson, _ in encoded]
    return dict(zip(ids, values, strict=True))
