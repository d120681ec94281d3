"""The training of `align`: imitate replies, then prefer one to another, by the one loop; each part goes on after any kill.

A part that is done is kept in the work folder until all is done, and its model is always read back from there: so a run that was
interrupted between the parts, or within one, ends in the bytes of one that was not. Losses are kept there too, since DVC removes a stage's
outputs before it runs it again.
"""

import json
import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from transformers import PreTrainedModel

from privllm.core.report import write_json
from privllm.core.seed import seed_of
from privllm.engine.digests import digest_of
from privllm.models.family import load
from privllm.tokens.rows import open_rows
from privllm.train.align.figures import Judged, compare, judge
from privllm.train.align.objectives import Imitate, Lessoned, Prefer, Shown, Terms
from privllm.train.align.recipe import FILES, AlignConfig, DpoConfig, Inputs, Material, Places, SftConfig
from privllm.train.chat_files import answer_turns, tokenizer_files
from privllm.train.config import TrainConfig
from privllm.train.loop import Work, key_of, train
from privllm.train.lora import adapt, merge
from privllm.train.pretrain import save
from privllm.train.pretrain_objectives import NextToken, Split

VALIDATION_ROWS = 64  # of pretraining text, for the report
NEVER = 1_000_000_000  # validations; patience that does not end
DONE = "done.json"


class Part(NamedTuple):
    """One of the two trainings."""

    name: str
    cfg: SftConfig | DpoConfig
    objective: type[Lessoned]
    train: list[Shown]
    validation: list[Shown]


def train_on(cfg: AlignConfig, material: Material, counts: dict[str, Any], inputs: Inputs, places: Places) -> dict[str, Any]:
    """Write `places.out` and `places.live`; returns the report."""
    transformers.utils.logging.disable_progress_bar()
    files = [inputs.start, *(inputs.feedback / name for name in FILES), inputs.rows / "train", inputs.rows / "validation", inputs.tokenizer]
    key = key_of(cfg, files, places.code, compiled=False)
    report: dict[str, Any] = {"aligned": True, "conversations_for_validation": len(material.validation)} | counts
    before = _judged(cfg, inputs.start, material, inputs)
    start = inputs.start
    for part in parts_of(cfg, material):
        work = Work(places.work / part.name, places.code, places.seconds)
        report[part.name] = _learn(cfg, part, start, inputs, work, f"{key} {part.name}")
        start = places.work / part.name / "model"
    after = _judged(cfg, start, material, inputs)
    report |= compare(before, after, material.held_out, cfg.seed, cfg.draws)
    facts = json.loads((inputs.start / "training.json").read_text("utf-8")) if (inputs.start / "training.json").is_file() else {}
    said = {"feedback": digest_of(inputs.feedback / name for name in FILES)}
    save(load("causal", start), facts | {"chat": True, "align": {"config": asdict(cfg), **said, **report}}, places.out)
    for path in tokenizer_files(inputs.tokenizer):  # so that the folder can be talked to as it is
        shutil.copyfile(path, places.out / path.name)
    answer_turns(places.out)
    shutil.rmtree(places.live, ignore_errors=True)
    for part in parts_of(cfg, material):
        shutil.copytree(places.work / part.name / "live", places.live / part.name)
    shutil.rmtree(places.work, ignore_errors=True)
    return report


def parts_of(cfg: AlignConfig, material: Material) -> list[Part]:
    """Those that there are lessons for. A preferred reply is imitated too, at `sft.preferred` of its weight, unless it is a correction."""
    corrections, preferences = material.training.corrections.kept, material.training.preferences.kept
    imitated = [(lesson.opening, Shown(found.prompt, found.replies, lesson.weight)) for lesson, found in corrections]
    if some := cfg.sft.preferred:
        corrected = {lesson.id for lesson, _ in corrections}
        voted = [(lesson, found) for lesson, found in preferences if lesson.id not in corrected]
        imitated += [(lesson.opening, Shown(found.prompt, found.replies[:1], some * lesson.weight)) for lesson, found in voted]
    compared = [(lesson.opening, Shown(found.prompt, found.replies, lesson.weight)) for lesson, found in preferences]
    parts = []
    for name, part_cfg, objective, shown in (("sft", cfg.sft, Imitate, imitated), ("dpo", cfg.dpo, Prefer, compared)):
        sides: tuple[list[Shown], list[Shown]] = ([], [])
        for opening, one in shown:
            sides[opening in material.validation].append(one)
        if shown:  # all of one kind may lie in conversations for validation: then they are learnt, and nothing stops early
            parts.append(Part(name, part_cfg, objective, *(sides if sides[0] else (sides[1], []))))
    return parts


def _learn(cfg: AlignConfig, part: Part, start: Path, inputs: Inputs, work: Work, key: str) -> dict[str, Any]:
    """Leave the model in `work.folder/model` and return what is to be said of its training, unless that was done before."""
    done = work.folder / DONE
    if done.is_file() and (known := json.loads(done.read_text("utf-8")))["key"] == key:
        return known["facts"]
    model, steps = to_device(load("causal", start)), steps_of(cfg, part)
    how = how_to_train(cfg, part, steps)
    objective = part.objective(
        model, how, f"align.{part.name}", part.train, part.validation or part.train, _terms(cfg, part, model, inputs)
    )
    adapters = adapt(model.train(), cfg.lora, cfg.seed) if cfg.lora.rank else None
    trained = train(objective, how, steps, work.folder / "live", work, key)
    history = trained.history
    facts = {
        "lessons": len(part.train),
        "validation": len(part.validation),
        "steps": trained.steps,
        "epochs": round(trained.steps * cfg.batch_size / len(part.train), 4),
        "train_loss": round(history.latest("train/loss"), 6),
        "validation_loss": round(history.latest("validation/loss"), 6) if part.validation else None,
        "stopped_by": "plateau" if history.stopped_by == "plateau" else "epochs",
    }
    save(merge(adapters) if adapters is not None else model, {}, work.folder / "model")
    write_json(done.with_suffix(".partial"), {"key": key, "facts": facts})
    done.with_suffix(".partial").replace(done)
    return facts


def steps_of(cfg: AlignConfig, part: Part) -> int:
    return max(cfg.min_steps, math.ceil(part.cfg.epochs * len(part.train) / cfg.batch_size))


def how_to_train(cfg: AlignConfig, part: Part, steps: int) -> TrainConfig:
    """In fp32 everywhere, for DPO looks at small differences of large sums. Ten validations; without lessons for them none stops it."""
    return TrainConfig(
        optimizer="adamw",
        learning_rate=part.cfg.learning_rate,
        weight_decay=0.0,
        batch_size=cfg.batch_size,
        warmup_steps=steps // 10,
        validate_every=max(1, steps // 10) if part.validation else steps,
        patience=3 if part.validation else NEVER,
        min_delta=0.0,  # a slow beginning is no plateau
        compile=False,
        precision="32",
        seed=cfg.seed,
    )


def _terms(cfg: AlignConfig, part: Part, model: PreTrainedModel, inputs: Inputs) -> Terms:
    return Terms(_text(cfg, model, inputs), cfg.replay, getattr(part.cfg, "beta", math.nan))


def _text(cfg: AlignConfig, model: PreTrainedModel, inputs: Inputs) -> NextToken:
    """Pretraining's own objective, in an order of its own."""
    how = TrainConfig(batch_size=max(1, cfg.batch_size // 2), seed=seed_of("replay", cfg.seed), validation_rows=VALIDATION_ROWS)
    training, validation = (Split(open_rows(inputs.rows / side)) for side in ("train", "validation"))
    return NextToken(model, how, training, validation, {})


def _judged(cfg: AlignConfig, folder: Path, material: Material, inputs: Inputs) -> Judged:
    model = to_device(load("causal", folder))
    return judge(model, material.held_out, _text(cfg, model, inputs), cfg.batch_size)


def to_device(model: PreTrainedModel) -> PreTrainedModel:
    return model.to("cuda" if torch.cuda.is_available() else "cpu")  # type: ignore[arg-type]
