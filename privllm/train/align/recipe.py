"""The `align` stage of one family: a pretrained model and what people said of replies in, a model that answers as they would like out.

    data/pretrain/<family>, data/feedback_clean -> out/{config.json, model.safetensors, training.json}, live/

A causal model imitates corrections, and by a smaller weight the replies that were preferred (as Rafailov et al. 2023 begin where no tuned
model is at hand: the marks of turns are new to a pretrained one); then DPO teaches it which of two replies is the better one. The other
families do not converse, and without feedback there is nothing to learn: then the same bytes go on, and torch is not even imported.

It judges how well that went on conversations that were kept back, and what it cost on held-out documents; it decides nothing by that.
"""

import json
import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from privllm.core.params import require
from privllm.core.printable import say
from privllm.core.report import write_json
from privllm.core.seed import unit_interval
from privllm.feedback.preferences import EncodedExamples, FeedbackExample, count_raters, encode_examples, read_held_out, read_training
from privllm.train.adapter_config import AdapterConfig

CONVERSES = "causal"
FILES = ("sft.jsonl", "preferences.jsonl", "held_out.jsonl", "raters.jsonl")  # of data/feedback_clean


@dataclass
class SftConfig:
    learning_rate: float = 0.0005  # peak, > 0
    epochs: float = 4.0  # how often the replies are gone through, > 0
    preferred: float = 0.5  # weight of a preferred reply beside a correction, [0, 1]; 0 = corrections alone

    def __post_init__(self) -> None:
        require(self.learning_rate > 0 and self.epochs > 0, "align.sft.learning_rate", "above 0, as must align.sft.epochs")
        require(0 <= self.preferred <= 1, "align.sft.preferred", "between 0 and 1")


@dataclass
class DpoConfig:
    learning_rate: float = 0.0002  # peak, > 0
    epochs: float = 4.0  # how often the preferences are gone through, > 0
    beta: float = 0.1  # how closely the model holds to what it was before, > 0

    def __post_init__(self) -> None:
        require(self.learning_rate > 0 and self.epochs > 0, "align.dpo.learning_rate", "above 0, as must align.dpo.epochs")
        require(self.beta > 0, "align.dpo.beta", "above 0")


@dataclass
class AlignConfig:
    sft: SftConfig = field(default_factory=SftConfig)  # imitating replies
    dpo: DpoConfig = field(default_factory=DpoConfig)  # preferring one to another
    lora: AdapterConfig = field(default_factory=AdapterConfig)
    replay: float = 1.0  # weight of the loss on pretraining text in every step, against forgetting, >= 0
    batch_size: int = 8  # lessons a step, with half as many rows of pretraining text; >= 1
    min_steps: int = 60  # of each part, however few lessons there are, >= 1
    validation: float = 0.1  # share of the conversations that only say when to stop, by a hash of their first question, [0, 0.5]
    draws: int = 2000  # behind the interval of the held-out difference, >= 1
    seed: int = 0  # of the order of lessons and of replayed text, and of adapters

    def __post_init__(self) -> None:
        require(self.replay >= 0, "align.replay", "0 or more")
        require(0 <= self.validation <= 0.5, "align.validation", "a share between 0 and 0.5")
        for key in ("batch_size", "min_steps", "draws"):
            require(getattr(self, key) >= 1, f"align.{key}", "at least 1")


class Inputs(NamedTuple):
    """What `align` reads."""

    start: Path  # data/pretrain/<family>
    feedback: Path  # data/feedback_clean
    rows: Path  # data/pack
    tokenizer: Path  # data/tokenizer


class Places(NamedTuple):
    """Where it writes, and where a run in flight keeps what it has, with the fingerprint of the code that may go on from that."""

    out: Path
    live: Path
    work: Path
    code: str
    seconds: float = math.inf  # of training between two checkpoints


class Side(NamedTuple):
    corrections: EncodedExamples
    preferences: EncodedExamples
    other: int  # rows that say neither


class Material(NamedTuple):
    """All that was said, as ids. `validation` are openings of conversations in `training` that only say when to stop."""

    training: Side
    held_out: Side
    validation: frozenset[str]
    cut: int  # lessons in use whose prompt did not fit whole
    people: int


def align(family: str, cfg: AlignConfig, inputs: Inputs, places: Places) -> dict[str, Any]:
    """Train or pass through; write `out` and `live`, return the report."""
    if family != CONVERSES:
        return _pass_through(f"people do not converse with the {family} family", {}, inputs, places)
    if not any((inputs.feedback / name).stat().st_size for name in FILES[:2]):
        return _pass_through("there are no corrections and no preferences yet", {}, inputs, places)
    material = read_material(cfg, inputs)
    counts = counts_of(material)
    if not (material.training.preferences.kept or material.training.corrections.kept):
        return _pass_through("no correction and no preference can be used", counts, inputs, places)
    from privllm.train.align.training import train_on  # not before it is known that there is work for torch

    return train_on(cfg, material, counts, inputs, places)


def read_material(cfg: AlignConfig, inputs: Inputs) -> Material:
    """What people said, in the ids of this build's tokenizer, as `serve` puts it to the model."""
    from privllm.tokens.chat_format import Speech

    speech, context, cut = Speech(inputs.tokenizer), _context(inputs.start), 0

    def encode(lesson: FeedbackExample) -> Any:
        nonlocal cut
        found = speech.exchange(lesson.turns, lesson.replies, context)
        cut += not isinstance(found, str) and found.cut
        return found

    sides = []
    for corrections, preferences, other in (read_training(inputs.feedback), read_held_out(inputs.feedback)):
        sides.append(Side(encode_examples(corrections, encode), encode_examples(preferences, encode), other))
    openings = {lesson.opening for part in sides[0][:2] for lesson, _ in part.kept}
    validation = frozenset(opening for opening in openings if unit_interval("align", opening) < cfg.validation)
    return Material(sides[0], sides[1], validation if validation < openings else frozenset(), cut, count_raters(inputs.feedback))


def counts_of(material: Material) -> dict[str, Any]:
    """Rows that came in, by what became of them."""
    counts: dict[str, Any] = {"people": material.people, "cut": material.cut}
    for name, side in (("training", material.training), ("held_out", material.held_out)):
        counts[name] = {"other": side.other}
        for kind, part in (("corrections", side.corrections), ("preferences", side.preferences)):
            counts[name][kind] = {"rows": part.rows, "used": len(part.kept), "dropped": part.dropped}
    return counts


def _context(start: Path) -> int:
    """Tokens that the model sees at once; transformers would say it too, seconds later."""
    config = json.loads((start / "config.json").read_text("utf-8"))
    return next(config[key] for key in ("max_position_embeddings", "n_positions") if config.get(key))


def _pass_through(reason: str, counts: dict[str, Any], inputs: Inputs, places: Places) -> dict[str, Any]:
    for folder in (places.out, places.live, places.work):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(inputs.start, places.out)
    write_json(places.live / "passed_through.json", {"passed_through": reason})
    say(f"align: {inputs.start} goes on unchanged, for {reason}.")
    return {"aligned": False, "passed_through": reason} | counts
