"""The `finetune` stages: a pretrained model and labelled examples in, a model that does one task out, and how much the start was worth.

    data.jsonl, start/ -> out/{config.json, model.safetensors, tokenizer.json, predictions.jsonl}, live/

The loop is pretraining's, so a run that was killed ends in the same bytes. With `compare_random` the same architecture is trained from
random weights too, on the same batches and the whole budget; both are judged on the same held-out examples. It makes no examples.
"""

import json
import shutil
from dataclasses import asdict, replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import transformers
from transformers import PreTrainedModel

from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.printable import say
from privllm.core.report import write_json
from privllm.core.tables import write_table
from privllm.engine.digests import replacing
from privllm.engine.extensions import NO_EXTENSIONS, Extensions
from privllm.engine.skipped_families import skip
from privllm.models.device_config import chosen
from privllm.models.devices import judging, place
from privllm.models.loading import config_of, context_of
from privllm.models.task_heads import open_model
from privllm.models.vocabulary import IGNORED
from privllm.stats.difference import difference
from privllm.stats.scores import Score
from privllm.tasks.example_scores import FILE, table_of
from privllm.tasks.formats import Dataset
from privllm.tasks.own_scores import own_scores
from privllm.tasks.read_dataset import read_examples, summary_of, told_of
from privllm.tasks.splits import Divided, divide, without
from privllm.tokens.chat_format import Speech
from privllm.train.budget import lesson_budget
from privllm.train.chat_files import answer_turns, tokenizer_files
from privllm.train.compile_support import prepare_compiler
from privllm.train.config import FinetuneConfig
from privllm.train.dropout import add_dropout, rate_of
from privllm.train.example_encoding import Coder, Encoded, tags_of
from privllm.train.finetune_objectives import objective_for
from privllm.train.loop import Trained, Work, key_of, train
from privllm.train.lora import adapt, merge
from privllm.train.parallel import first_says, group, joined
from privllm.train.predictions import MAIN, HeldOutResults, Limits, answer_of, as_line, judge
from privllm.train.task_baselines import compared_with_baselines

NEVER = 1_000_000_000  # validations; patience that does not end
CONVERSATIONS = {"chat", "text2text"}  # kinds of tasks that a family which converses learns as turns, see `encode`


class FinetuneInputs(NamedTuple):
    """What `finetune` reads."""

    data: Path  # a file that `tasks.row_files` reads
    start: Path  # a Hugging Face folder with its tokenizer


class Prepared(NamedTuple):
    """Examples, encoded for the model."""

    dataset: Dataset
    divided: Divided
    train: list[Encoded]
    validation: list[Encoded]
    test: list[Encoded]
    labels: tuple[str, ...]  # of the head
    counts: dict[str, int]
    extensions: Extensions  # that hold further scores


class Arm(NamedTuple):
    """A model trained from one start, and its results."""

    model: PreTrainedModel
    trained: Trained
    batch_size: int
    judged: HeldOutResults


def finetune(
    task: str,
    cfg: FinetuneConfig,
    inputs: FinetuneInputs,
    out: Path,
    live: Path,
    work: Work,
    extensions: Extensions = NO_EXTENSIONS,
) -> dict[str, Any]:
    """Train, judge, write `out` and `live`; return the report.

    Raises UserError for examples that are wrong or do not suffice, unless the task is optional: then it says so and trains nothing.
    """
    if not (inputs.start / "tokenizer.json").is_file():
        raise UserError(
            f"{inputs.start} has no tokenizer.json, without which a model cannot read text: "
            f"name another folder as `start` of `finetune.tasks.{task}`."
        )
    speech = Speech(inputs.start)
    try:
        dataset = read_examples(inputs.data, cfg.kind, tuple(cfg.labels))
        prepared = _prepare(cfg, dataset, inputs.start, speech, extensions)
    except UserError as error:
        if not cfg.optional:
            raise
        return skip(f"finetune.tasks.{task}", str(error), out, live)
    for line in told_of(prepared.dataset):
        say(line, err=True)
    right_answers = [answer_of(example) for example in prepared.divided.test]
    own_scores(extensions, cfg.kind, right_answers, right_answers)  # a score that fails must not wait for the training
    compiled = prepare_compiler(cfg.compile, work.folder.parent)
    key = key_of(cfg, [inputs.data, inputs.start], work.code, compiled)
    requested = asdict(cfg)
    cfg = replace(cfg, compile=str(compiled))  # as this machine can
    section = f"finetune.tasks.{task}"
    with joined(chosen().processes) as processes:
        fresh = _random_arm(cfg, prepared, inputs, speech, work, key, section) if cfg.compare_random else None
        if processes.writes:
            shutil.rmtree(live, ignore_errors=True)
        arm_work = work._replace(folder=work.folder / "start")
        arm = _train(cfg, prepared, inputs, speech, arm_work, key, section, live)
        if arm is None:
            raise SystemExit(0)  # the first process does the rest
    report = _report(cfg, prepared, arm, fresh)
    own = partial(own_scores, extensions, cfg.kind)
    report["baselines"] = compared_with_baselines(cfg.kind, prepared.divided, arm.judged, own)
    for sentence in report["baselines"].get("sentences", ()):
        say(f"finetune@{task}: {sentence}", err=True)
    _save(arm, fresh, prepared, inputs, {"config": requested, **report}, out)
    shutil.rmtree(work.folder, ignore_errors=True)
    return report


def _prepare(cfg: FinetuneConfig, dataset: Dataset, start: Path, speech: Speech, extensions: Extensions) -> Prepared:
    """Split the examples and encode them for the model."""
    divided = divide(dataset, cfg.split)
    labels = tags_of(divided.labels) if cfg.kind == "tokens" else divided.labels
    context = min(cfg.max_length, context_of(config_of(start)))
    coder = Coder(speech, cfg.family, dataset, context, labels)
    encoded, validation, test = map(coder.encode_fitting, (divided.train, divided.validation, divided.test))
    dataset, divided = without(dataset, divided, coder.skipped)
    has_labels = [bool((example.labels != IGNORED).any()) for example in encoded]  # they may lie beyond the context
    return Prepared(
        dataset=dataset,
        divided=divided,
        train=list(compress(encoded, has_labels)),
        validation=validation,
        test=test,
        labels=labels,
        counts={**dataset.counts, **divided.counts, "cut": coder.cut},
        extensions=extensions,
    )


def _train(
    cfg: FinetuneConfig,
    prepared: Prepared,
    inputs: FinetuneInputs,
    speech: Speech,
    work: Work,
    key: str,
    section: str,
    live: Path | None,
) -> Arm | None:
    """Train one arm; it starts from random weights where there is no `live` to write its losses to.

    Of several processes that train it, the first one alone judges it; the others return None.
    """
    fresh = live is None
    budget = lesson_budget(len(prepared.train), cfg.epochs, cfg.batch_size, cfg.learning_rate)
    cfg = replace(
        cfg,
        batch_size=budget.batch_size,
        learning_rate=budget.learning_rate,
        validate_every=min(cfg.validate_every, budget.validate_every),
        patience=NEVER if fresh else cfg.patience,  # a random start must not stop early: it gets the whole budget
    )
    model = open_model(cfg.kind, cfg.family, inputs.start, prepared.labels, speech.marks.pad, cfg.seed, fresh)
    adapters = None
    if cfg.lora.rank and not fresh:
        marks = speech.own_turn_marks() if cfg.kind in CONVERSATIONS else []
        adapters = adapt(model, cfg.lora, cfg.seed, marks)
    add_dropout(model, cfg.family, rate_of(inputs.start))
    make = objective_for(cfg.kind, cfg.family)
    objective = make(model, cfg, prepared.train, prepared.validation, speech.marks.pad, section)
    if cfg.compile == "true":
        objective.compile()
    trained = train(objective, cfg, budget.steps, live or work.folder / "live", work, f"{key} {fresh}")
    if not group().writes:
        return None
    if adapters is not None:
        objective.model = merge(adapters)
    limits = Limits(max(8, cfg.batch_size), cfg.generated, cfg.max_new_tokens)
    score_more = partial(own_scores, prepared.extensions, cfg.kind)
    place(objective.model)
    with judging(cfg.precision):
        judged = judge(objective, prepared.divided.test, prepared.test, prepared.labels, speech, limits, score_more)
    objective.model.cpu()
    return Arm(objective.model, trained, cfg.batch_size, judged)


def _random_arm(
    cfg: FinetuneConfig, prepared: Prepared, inputs: FinetuneInputs, speech: Speech, work: Work, key: str, section: str
) -> HeldOutResults | None:
    """Return the results of a random start; once they are stored, a resumed run need not train it again."""
    results_file = work.folder / "random.json"
    stored_results = _stored(results_file, key)
    (is_stored,) = first_says([int(stored_results is not None)])
    if is_stored:
        return stored_results
    arm_work = work._replace(folder=work.folder / "random")
    arm = _train(cfg, prepared, inputs, speech, arm_work, key, f"{section} (random start)", None)
    if arm is None:
        return None
    results = arm.judged
    stored = {
        "key": key,
        "answered": results.answered,
        "given": results.given,
        "scores": {name: [score.over.tolist(), score.under.tolist()] for name, score in results.scores.items()},
        "figures": results.figures,
    }
    with replacing(results_file) as partial:
        write_json(partial, stored)
    shutil.rmtree(arm_work.folder, ignore_errors=True)
    return results


def _stored(results_file: Path, key: str) -> HeldOutResults | None:
    """Return the results that a run of this key stored."""
    if not results_file.is_file():
        return None
    stored = json.loads(results_file.read_text("utf-8"))
    if stored["key"] != key:
        return None
    scores = {name: Score(np.array(over), np.array(under)) for name, (over, under) in stored["scores"].items()}
    return HeldOutResults(stored["answered"], stored["given"], scores, stored["figures"])


def _report(cfg: FinetuneConfig, prepared: Prepared, arm: Arm, fresh: HeldOutResults | None) -> dict[str, Any]:
    history = arm.trained.history
    report: dict[str, Any] = {
        "kind": cfg.kind,
        "family": cfg.family,
        "data": summary_of(prepared.dataset),
        "examples": prepared.counts,
        "labels": len(prepared.divided.labels),
        "steps": arm.trained.steps,
        "epochs": round(arm.trained.steps * arm.batch_size / len(prepared.train), 4),
        "stopped_by": history.stopped_by,
        "train_loss": round(history.latest("train/loss"), 6),
        "validation_loss": round(arm.trained.validation_loss, 6),
        "best_step": arm.trained.best_step,
        "main": MAIN[cfg.kind],
        "test": arm.judged.plain(),
    }
    if fresh is not None:
        groups = [example.group for example in prepared.divided.test]
        differences = compare(arm.judged, fresh, groups)
        report |= {
            "random": fresh.plain(),
            "difference": differences,
            "transfers": differences[MAIN[cfg.kind]]["better"],
        }
    return report


def compare(
    pretrained: HeldOutResults,
    random: HeldOutResults,
    groups: list[str],
) -> dict[str, dict[str, Any]]:
    """Return by score: how much `pretrained` is above `random`, the 95 % interval where there is one, and whether all of it says better."""
    differences = {}
    for name, score in pretrained.scores.items():
        random_score = random.scores[name]
        score_groups = groups
        if len(score.over) != len(groups):
            score_groups = [groups[index] for index in pretrained.answered]
        measured = difference(random_score, score, score_groups)
        differences[name] = {"difference": measured.difference, "better": False}
        if measured.interval:
            low, high = measured.interval
            is_better = high < 0 if name == "loss" else low > 0
            differences[name] |= {"low": low, "high": high, "better": is_better}
    return differences


def _save(
    arm: Arm, fresh: HeldOutResults | None, prepared: Prepared, inputs: FinetuneInputs, facts: dict[str, Any], out: Path
) -> None:
    """Write `out` as a folder that transformers loads by itself."""
    shutil.rmtree(out, ignore_errors=True)
    transformers.utils.logging.disable_progress_bar()
    arm.model.save_pretrained(out)
    write_json(out / "training.json", facts)
    for path in tokenizer_files(inputs.start):
        shutil.copyfile(path, out / path.name)
    if facts["kind"] in CONVERSATIONS and TRAITS[facts["family"]].can_converse:
        answer_turns(out)
    lines = []
    for number, (index, predicted) in enumerate(zip(arm.judged.answered, arm.judged.given, strict=True)):
        line = as_line(prepared.divided.test[index], predicted)
        if fresh:
            line["random"] = fresh.given[number]
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    (out / "predictions.jsonl").write_text("".join(lines), "utf-8")
    scores = table_of(arm.judged.scores, arm.judged.answered, prepared.divided.test)
    write_table(scores, out / FILE)
