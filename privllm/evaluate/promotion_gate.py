"""gate: is this build's model at least as good as the one in use? Both are measured on the same things, and rules decide.

    bits_per_byte    on the held-out documents of today's corpus, each model by its own tokenizer
    forgetting       the same, on those of them that the incumbent was judged on when it was promoted, and which are still the same
    preferences      how often the causal model agrees with the votes and corrections that were kept back, by weight
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
from privllm.core.promoted import JUDGED, MANIFEST, TOKENIZER
from privllm.core.split import SplitConfig, split_of
from privllm.core.tables import by_id, read_table, shards_of, write_table
from privllm.engine.store import NO_STORE, Store
from privllm.evaluate.recipe import EvaluateConfig
from privllm.evaluate.rules import Figure, GateConfig, report_of
from privllm.evaluate.scoring import choose_rows, score
from privllm.evaluate.slices import Tally
from privllm.feedback.preferences import FeedbackExample, encode_examples, read_held_out
from privllm.models.family import config_of, context_of, load
from privllm.models.reply_likelihood import Pair, agreement, preferred
from privllm.stats.paired import LEAST, Paired, paired
from privllm.stats.scores import Score, paired_interval
from privllm.tasks.example_scores import FILE, TASKS, shared
from privllm.tokens.annotation_alignment import token_bytes
from privllm.tokens.chat_format import Speech
from privllm.tokens.encode import Encoder
from privllm.tokens.pack import cut, join, pieces_of
from privllm.tokens.rows import open_rows, shards_in, write_rows

TEST = "test"
CONVERSES = "causal"
WEIGHTS = "model.safetensors"
SCORES = pa.schema([("id", pa.string()), ("tokens", pa.int64()), ("bytes", pa.int64()), ("nats", pa.float64()), ("correct", pa.int64())])


class Inputs(NamedTuple):
    """The folders that `gate` reads."""

    promoted: Path  # data/promoted/model
    models: Path  # data/align
    scores: Path  # data/evaluate
    packed: Path  # data/pack
    documents: Path  # data/dedup
    tokenizer: Path  # data/tokenizer
    feedback: Path  # data/feedback_clean
    tuned: Path  # data/finetune


class Settings(NamedTuple):
    """What other stages' sections say, which the incumbent must be measured by too."""

    gate: GateConfig
    evaluate: EvaluateConfig
    split: SplitConfig


def gate(settings: Settings, inputs: Inputs, out: Path, store: Store = NO_STORE) -> dict[str, Any]:
    """Write `out`; returns the report, whose `passed` is the answer."""
    out.mkdir(parents=True, exist_ok=True)
    incumbent = inputs.promoted / INCUMBENT
    figures: dict[str, Figure] = {}
    for family in sorted(path.name for path in inputs.scores.iterdir() if (incumbent / path.name).is_dir()):
        table = scores_of(settings, inputs, family, store)
        write_table(table, out / f"{family}.parquet")
        figures |= dict(
            by_document(
                incumbent, family, table, read_table(inputs.scores / family / "documents.parquet", SCORES.names), settings.gate.draws
            )
        )
    if CONVERSES in {name.partition(".")[0] for name in figures}:
        figures |= preferences(inputs, settings.gate.draws)
    figures |= dict(of_tasks(incumbent / TASKS, inputs.tuned, settings.gate.draws))
    return report_of(settings.gate, json.loads((incumbent / MANIFEST).read_text("utf-8"))["version"], figures)


def scores_of(settings: Settings, inputs: Inputs, family: str, store: Store) -> pa.Table:
    """The incumbent's SCORES of today's held-out documents, by id."""
    folder, tokenizer = inputs.promoted / INCUMBENT / family, inputs.promoted / INCUMBENT / TOKENIZER
    same_tokens = filecmp.cmp(tokenizer / "tokenizer.json", inputs.tokenizer / "tokenizer.json", shallow=False)
    if same_tokens and filecmp.cmp(folder / WEIGHTS, inputs.models / family / WEIGHTS, shallow=False):
        return read_table(inputs.scores / family / "documents.parquet", SCORES.names)
    context = context_of(config_of(folder))
    with TemporaryDirectory(prefix="gate-") as scratch:
        rows = inputs.packed / TEST
        if not same_tokens or open_rows(rows).row_length - 1 > context:
            rows = Path(scratch, "rows")
            jobs = [(context, settings.split, tokenizer / "tokenizer.json", shard) for shard in shards_of(inputs.documents)]
            store.map(pack_held_out, jobs, rows, "pack for the incumbent")
        chosen = choose_rows(shards_in(rows), settings.evaluate.max_rows)
        sizes = token_bytes(Encoder.open(tokenizer).reference.get_vocab())
        tallies: dict[str, Tally] = defaultdict(Tally)
        for part in score(family, folder, chosen, settings.evaluate.batch_rows, Path(scratch, "tokens"), store):
            tallies[part.id].add(sizes[part.labels], part.nats, part.correct)
    return pa.Table.from_pylist([{"id": name} | vars(tallies[name]) for name in sorted(tallies)], SCORES)


def pack_held_out(out: Path, context: int, split: SplitConfig, tokenizer_file: Path, shard: Path) -> None:
    """The held-out documents of one shard as rows of another tokenizer's tokens."""
    table = by_id(read_table(shard, ["id", "text", "cluster"]))
    table = table.filter(pa.array([split_of(split, cluster) == TEST for cluster in table["cluster"].to_pylist()], pa.bool_()))
    stream = join(list(Encoder.open(tokenizer_file.parent).encode(table["text"])))
    pieces = pieces_of(stream, table["id"].combine_chunks(), context)
    write_rows(cut(stream.tokens, context), pieces, context, out / f"{shard.stem}.arrow")


def by_document(incumbent: Path, family: str, old: pa.Table, new: pa.Table, draws: int) -> Iterator[tuple[str, Figure]]:
    """(name, figure) of the held-out documents that both models read, and of those among them that the incumbent was judged on before."""
    known = read_table(incumbent / JUDGED / f"{family}.parquet", ["id", "bytes"])
    sizes = dict(zip(known["id"].to_pylist(), known["bytes"].to_pylist(), strict=True))
    still = [sizes.get(row["id"]) == row["bytes"] for row in new.select(["id", "bytes"]).to_pylist()]
    for name, table in (("bits_per_byte", new), ("forgetting", new.filter(pa.array(still, pa.bool_())))):
        overlap, found = paired(old.filter(pc.is_in(old["id"], table["id"])), table, draws)
        if found:
            yield f"{family}.{name}", figure_of(found["bits_per_byte"], overlap.common)


def figure_of(found: Paired, units: int) -> Figure:
    return Figure(found.a, found.b, found.interval, units)


def preferences(inputs: Inputs, draws: int) -> dict[str, Figure]:
    """How often either model finds likelier what people preferred; {} where nothing that both can read was kept back."""
    lessons = read_held_out(inputs.feedback).preferences
    incumbent = inputs.promoted / INCUMBENT
    old, new = (
        _agreement(lessons, folder / CONVERSES, tokenizer)
        for folder, tokenizer in ((incumbent, incumbent / TOKENIZER), (inputs.models, inputs.tokenizer))
    )
    both = [lesson for lesson in lessons if lesson.id in old and lesson.id in new]
    if not both:
        return {}
    weights = np.array([lesson.weight for lesson in both])
    before, after = (Score(weights * [found[lesson.id] for lesson in both], weights) for found in (old, new))
    return {f"{CONVERSES}.preferences": _beside(before, after, [lesson.opening for lesson in both], draws)}


def of_tasks(promoted: Path, tuned: Path, draws: int) -> Iterator[tuple[str, Figure]]:
    """(name, figure) of every score of every task that both builds have."""
    for path in sorted(promoted.glob("*.parquet")):
        new = tuned / path.stem / FILE
        for name, found in shared(path, new).items() if new.is_file() else ():
            yield f"tasks.{path.stem}.{name}", _beside(found.old, found.new, found.groups, draws)


def _beside(old: Score, new: Score, groups: list[str], draws: int) -> Figure:
    """Two scores of the same things, which are drawn by group."""
    interval = None
    if len(set(groups)) >= LEAST:
        low, high = paired_interval(new, old, groups, 0, draws)
        interval = round(low, 6), round(high, 6)
    return Figure(round(old.value, 6), round(new.value, 6), interval, len(groups))


def _agreement(lessons: list[FeedbackExample], folder: Path, tokenizer: Path) -> dict[str, float]:
    """{lesson: 1 where the model agrees, 0 where it does not}, of the lessons that it can read."""
    speech, model = Speech(tokenizer), load(CONVERSES, folder)
    context = context_of(model.config)
    kept = encode_examples(lessons, lambda lesson: speech.exchange(lesson.turns, lesson.replies, context)).kept
    margins = preferred(model, [Pair(found.prompt, *found.replies) for _, found in kept])
    return {lesson.id: float(one) for (lesson, _), one in zip(kept, agreement(margins.mean), strict=True)}
