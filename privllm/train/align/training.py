"""The training of `align`: imitate replies, then prefer one to another, by the one loop; each phase can be resumed.

A finished phase stays in the work folder until all are finished, and its model is always read back from there: so a
run that was interrupted between the phases, or within one, ends in the bytes of one that was not. Losses are kept
there too, since DVC removes a stage's outputs before it runs it again.
"""

import json
import math
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import transformers
from transformers import PreTrainedModel

from privllm.core.report import write_json
from privllm.core.seed import seed_of
from privllm.engine.digests import digest_of
from privllm.models.device_config import chosen
from privllm.models.devices import place
from privllm.models.loading import dtype_of, load
from privllm.tokens.chat_format import Speech
from privllm.tokens.rows import open_rows
from privllm.tokens.special_ids import special_ids
from privllm.train.align.config import FILES, AlignConfig, AlignInputs, DpoConfig, Places, SftConfig
from privllm.train.align.data import Material
from privllm.train.align.figures import Measurements, compare, measure
from privllm.train.align.objectives import EncodedLesson, Imitate, LessonObjective, LossTerms, Prefer
from privllm.train.budget import LessonBudget, lesson_budget
from privllm.train.chat_files import answer_turns, copy_tokenizer
from privllm.train.compile_support import prepare_compiler
from privllm.train.config import TrainConfig
from privllm.train.dropout import add_dropout, rate_of
from privllm.train.loop import Trained, Work, key_of, train
from privllm.train.lora import adapt, merge
from privllm.train.parallel import first_says, group, joined, wait_for_all
from privllm.train.pretrain import save
from privllm.train.pretrain_objectives import NextToken, Split

VALIDATION_ROWS = 64  # of pretraining text, for the report
NEVER = 1_000_000_000  # validations; patience that does not end
DONE = "done.json"


class Phase(NamedTuple):
    """One of the two trainings."""

    name: str
    cfg: SftConfig | DpoConfig
    objective: type[LessonObjective]
    train: list[EncodedLesson]
    validation: list[EncodedLesson]


class LessonOf(NamedTuple):
    """A lesson and the conversation that it belongs to."""

    opening: str
    lesson: EncodedLesson


def train_on(
    family: str,
    cfg: AlignConfig,
    material: Material,
    counts: dict[str, Any],
    inputs: AlignInputs,
    places: Places,
) -> dict[str, Any]:
    """Write `places.out` and `places.live`; return the report."""
    transformers.utils.logging.disable_progress_bar()
    feedback_files = [inputs.feedback / name for name in FILES]
    row_folders = [inputs.rows / "train", inputs.rows / "validation"]
    files = [inputs.start, *feedback_files, *row_folders, inputs.tokenizer]
    key = key_of(cfg, files, places.code, compiled=False)
    report: dict[str, Any] = {"aligned": True, "conversations_for_validation": len(material.validation)} | counts
    phases = phases_of(cfg, material)
    model_folder = inputs.start
    prepare_compiler("false", places.work.parent)  # on a GPU the replayed text attends by kernels
    with joined(chosen().processes) as processes:
        before = _measure(family, cfg, inputs.start, material, inputs) if processes.writes else None
        for phase in phases:
            work = Work(places.work / phase.name, places.code, places.seconds, places.workers, places.recompute)
            report[phase.name] = _learn(family, cfg, phase, model_folder, inputs, work, f"{key} {phase.name}")
            model_folder = work.folder / "model"
        if before is None:
            raise SystemExit(0)  # the first process does the rest
    after = _measure(family, cfg, model_folder, material, inputs)
    report |= compare(before, after, material.held_out)
    align_facts = {"config": asdict(cfg), "feedback": digest_of(feedback_files), **report}
    facts = _training_facts(inputs.start) | {"chat": True, "align": align_facts}
    save(load(family, model_folder), facts, places.out, dtype_of(inputs.start))
    copy_tokenizer(inputs.tokenizer, places.out, family)  # so that one can talk to the model in the folder as it is
    answer_turns(places.out)
    shutil.rmtree(places.live, ignore_errors=True)
    for phase in phases:
        shutil.copytree(places.work / phase.name / "live", places.live / phase.name)
    shutil.rmtree(places.work, ignore_errors=True)
    return report


def _training_facts(folder: Path) -> dict[str, Any]:
    path = folder / "training.json"
    if not path.is_file():
        return {}
    return json.loads(path.read_text("utf-8"))


def phases_of(cfg: AlignConfig, material: Material) -> list[Phase]:
    """Return the phases that there are lessons for."""
    phases = []
    for name, phase_cfg, objective, lessons in (
        ("sft", cfg.sft, Imitate, _imitated(cfg, material)),
        ("dpo", cfg.dpo, Prefer, _compared(material)),
    ):
        if not lessons:
            continue
        training = [lesson for opening, lesson in lessons if opening not in material.validation]
        validation = [lesson for opening, lesson in lessons if opening in material.validation]
        if not training:  # all of a kind may lie in conversations for validation: then nothing stops early
            training, validation = validation, []
        phases.append(Phase(name, phase_cfg, objective, training, validation))
    return phases


def _imitated(cfg: AlignConfig, material: Material) -> list[LessonOf]:
    """Return the corrections, and at `sft.preferred` of their weight the preferred replies that are no corrections."""
    lessons = []
    corrected = set()
    for lesson, exchange in material.training.corrections.kept:
        corrected.add(lesson.id)
        encoded = EncodedLesson(exchange.prompt, exchange.replies, lesson.weight)
        lessons.append(LessonOf(lesson.opening, encoded))
    if not cfg.sft.preferred:
        return lessons
    for lesson, exchange in material.training.preferences.kept:
        if lesson.id not in corrected:
            preferred_reply = exchange.replies[:1]
            encoded = EncodedLesson(exchange.prompt, preferred_reply, cfg.sft.preferred * lesson.weight)
            lessons.append(LessonOf(lesson.opening, encoded))
    return lessons


def _compared(material: Material) -> list[LessonOf]:
    """Return the preferences."""
    lessons = []
    for lesson, exchange in material.training.preferences.kept:
        encoded = EncodedLesson(exchange.prompt, exchange.replies, lesson.weight)
        lessons.append(LessonOf(lesson.opening, encoded))
    return lessons


def _learn(
    family: str,
    cfg: AlignConfig,
    phase: Phase,
    start: Path,
    inputs: AlignInputs,
    work: Work,
    key: str,
) -> dict[str, Any]:
    """Leave the model in `work.folder/model` and return the facts of its training; a finished phase is not repeated."""
    facts_file = work.folder / DONE
    facts = _finished(facts_file, key)
    (is_finished,) = first_says([int(facts is not None)])
    if not is_finished:
        facts = _learn_now(family, cfg, phase, start, inputs, work, key)
    wait_for_all()  # the next phase begins with the model of this one
    return facts or {}


def _finished(facts_file: Path, key: str) -> dict[str, Any] | None:
    """Return the facts that a run of this key left."""
    if not facts_file.is_file():
        return None
    finished = json.loads(facts_file.read_text("utf-8"))
    return finished["facts"] if finished["key"] == key else None


def _learn_now(
    family: str,
    cfg: AlignConfig,
    phase: Phase,
    start: Path,
    inputs: AlignInputs,
    work: Work,
    key: str,
) -> dict[str, Any]:
    """Train a phase; the first process alone writes its model."""
    model = place(load(family, start))
    budget = budget_of(cfg, phase)
    train_cfg = train_config_of(cfg, phase, budget)
    objective = phase.objective(
        model,
        train_cfg,
        f"align.{phase.name}",
        phase.train,
        phase.validation or phase.train,
        _loss_terms(cfg, phase, model, inputs),
    )
    adapters = None
    if cfg.lora.rank:
        adapters = adapt(model.train(), cfg.lora, cfg.seed, Speech(inputs.tokenizer).own_turn_marks())
    add_dropout(model, family, rate_of(inputs.start))
    trained = train(objective, train_cfg, budget.steps, work.folder / "live", work, key)
    facts = _facts_of(budget, phase, trained)
    if not group().writes:
        return facts
    if adapters is not None:
        model = merge(adapters)
    save(model, {}, work.folder / "model")
    partial = work.folder / f"{DONE}.partial"
    write_json(partial, {"key": key, "facts": facts})
    partial.replace(work.folder / DONE)
    return facts


def _facts_of(budget: LessonBudget, phase: Phase, trained: Trained) -> dict[str, Any]:
    """Return what the report says of a phase."""
    history = trained.history
    return {
        "lessons": len(phase.train),
        "validation": len(phase.validation),
        "steps": trained.steps,
        "epochs": round(trained.steps * budget.batch_size / len(phase.train), 4),
        "train_loss": round(history.latest("train/loss"), 6),
        "validation_loss": round(trained.validation_loss, 6) if phase.validation else None,
        "best_step": trained.best_step,
        "stopped_by": history.stopped_by,
    }


def budget_of(cfg: AlignConfig, phase: Phase) -> LessonBudget:
    """Return how long a phase lasts at most, by the number of its lessons."""
    return lesson_budget(len(phase.train), phase.cfg.epochs, cfg.batch_size, phase.cfg.learning_rate)


def train_config_of(cfg: AlignConfig, phase: Phase, budget: LessonBudget) -> TrainConfig:
    """Return the settings of the loop.

    It trains as `align.precision` says, each log-probability in fp32 (DPO takes small differences of large sums), and validates ten
    times; without lessons for validation nothing stops it.
    """
    return TrainConfig(
        optimizer="adamw",
        learning_rate=budget.learning_rate,
        weight_decay=0.0,
        batch_size=budget.batch_size,
        warmup_steps=budget.steps // 10,
        validate_every=budget.validate_every if phase.validation else budget.steps,
        patience=3 if phase.validation else NEVER,
        min_delta=0.0,  # a slow beginning is no plateau
        compile="false",
        precision=cfg.precision,
        positions_at_once=cfg.positions_at_once,
        weights=cfg.weights,
        seed=cfg.seed,
    )


def _loss_terms(cfg: AlignConfig, phase: Phase, model: PreTrainedModel, inputs: AlignInputs) -> LossTerms:
    beta = getattr(phase.cfg, "beta", math.nan)  # imitation has none
    return LossTerms(text=_text(cfg, model, inputs), replay=cfg.replay, beta=beta)


def _text(cfg: AlignConfig, model: PreTrainedModel, inputs: AlignInputs) -> NextToken:
    """Return pretraining's own objective, in a data order of its own."""
    train_cfg = TrainConfig(
        batch_size=max(1, cfg.batch_size // 2),
        seed=seed_of("replay", cfg.seed),
        validation_rows=VALIDATION_ROWS,
    )
    training = Split(open_rows(inputs.rows / "train"))
    validation = Split(open_rows(inputs.rows / "validation"))
    return NextToken(model, train_cfg, training, validation, special_ids(inputs.tokenizer))


def _measure(family: str, cfg: AlignConfig, folder: Path, material: Material, inputs: AlignInputs) -> Measurements:
    model = place(load(family, folder))
    text = _text(cfg, model, inputs)
    return measure(model, material.held_out, text, cfg.batch_size)
