"""Every section of params.yaml beside the dataclass that reads it, and what is wrong with a whole params.yaml.

`python -m privllm.cli.param_sections` prints that as JSON, for `engine.params_check`. What it imports must be light: the dataclasses stand
apart from torch, spaCy and Great Expectations, so that the answer comes within a second.
"""

import difflib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from privllm.annotate.recipe import AnnotateConfig
from privllm.clean.recipe import CleanConfig
from privllm.collect.recipe import CollectConfig
from privllm.core.base_model import ARCHITECTURES
from privllm.core.errors import UserError
from privllm.core.params import PARAMS_FILE, line_of, load_sections, read_params
from privllm.core.split import SplitConfig
from privllm.dedup.recipe import DedupConfig
from privllm.engine.executor_ray import ExecutorConfig
from privllm.engine.pipeline import PIPELINE, TEMPLATE, declared_stages, look_up
from privllm.evaluate.config import EvaluateConfig
from privllm.evaluate.rules import GateConfig
from privllm.export.card import ExportConfig
from privllm.feedback.recipe import FeedbackConfig
from privllm.tasks.config import TasksConfig
from privllm.tokens.pack import PackConfig
from privllm.tokens.token_annotations import GuideConfig
from privllm.tokens.vocabulary import TokenizerConfig
from privllm.tokens.vocabulary_sample import SampleConfig
from privllm.train.align.recipe import AlignConfig
from privllm.train.config import FinetuneConfig, PretrainConfig
from privllm.validate.expectations import ValidateConfig

FAMILIES = "families"
DEFAULTS, TASKS = "finetune.defaults", "finetune.tasks"
SECTIONS: dict[str, type] = {
    "split": SplitConfig,
    "collect": CollectConfig,
    "clean": CleanConfig,
    "dedup": DedupConfig,
    "validate": ValidateConfig,
    "annotate": AnnotateConfig,
    "tasks": TasksConfig,
    "sample": SampleConfig,
    "tokenizer": TokenizerConfig,
    "pack": PackConfig,
    "guide": GuideConfig,
    "pretrain": PretrainConfig,
    DEFAULTS: FinetuneConfig,
    "align": AlignConfig,
    "evaluate": EvaluateConfig,
    "export": ExportConfig,
    "feedback": FeedbackConfig,
    "gate": GateConfig,
    "executor": ExecutorConfig,
}
TASK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # it is a folder's name, and part of a stage's
WRITTEN_OUT = ("family", "data", "start")  # keys of a task that dvc.yaml's `foreach` takes from its own entry
BUILT = re.compile(r"data/(pretrain|align|export)/([^/]+)")  # a start that this build makes
DERIVED = re.compile(r"data/tasks/([^/]+)\.jsonl")  # examples that this build makes


def faults_of(root: Path = Path()) -> list[str]:
    """A sentence for each thing in params.yaml that a stage would refuse, in the order of `SECTIONS`; none where all is well."""
    try:
        sections = load_sections(root / PARAMS_FILE)
        found = [*_families(sections, root), *_unreadable(sections, root), *_tasks(sections, root)]
        found += [] if found else _missing(sections, root)  # where they are wrong, DVC may not be able to write the stages out
        found = [*_unknown(sections, root), *found]
    except UserError as error:
        return [str(error)]
    return list(dict.fromkeys(found))


def _at(root: Path, dotted: str) -> str:
    return f"parameter `{dotted}` ({PARAMS_FILE}, line {line_of(root / PARAMS_FILE, dotted)})"


def _unknown(sections: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Sections of nobody: neither ours nor named by a stage of dvc.yaml."""
    ours = {FAMILIES, *(name.partition(".")[0] for name in SECTIONS)}
    strange = [name for name in sections if name not in ours]
    if not strange:
        return
    named = {re.split(r"[.\[]", param)[0] for stage in declared_stages(root).values() for param in stage.get("params", [])}
    named |= {name.partition(".")[0] for name in TEMPLATE.findall((root / PIPELINE).read_text("utf-8"))}
    for name in strange:
        if name not in named:
            near = difflib.get_close_matches(str(name), ours, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"no stage of {PIPELINE} names it among its `params`."
            yield f"unknown section `{name}` ({PARAMS_FILE}, line {line_of(root / PARAMS_FILE, str(name))}); {hint}"


def _families(sections: Mapping[str, Any], root: Path) -> Iterator[str]:
    wanted = sections.get(FAMILIES)
    known = wanted if isinstance(wanted, list) else []
    if not known or len(set(map(str, known))) < len(known) or not all(family in ARCHITECTURES for family in known):
        yield f"{_at(root, FAMILIES)} is {wanted}: it must be a list of one or more of {', '.join(ARCHITECTURES)}, each once."


def _unreadable(sections: Mapping[str, Any], root: Path) -> Iterator[str]:
    """What the dataclasses refuse."""
    for section, schema in SECTIONS.items():
        try:
            read_params(section, schema, root / PARAMS_FILE)
        except UserError as error:
            yield str(error)
    for name in sections.get("finetune") or {} if isinstance(sections.get("finetune"), dict) else {}:
        if f"finetune.{name}" not in (DEFAULTS, TASKS):
            yield f"unknown {_at(root, f'finetune.{name}')}; known keys: defaults, tasks."


def _tasks(sections: Mapping[str, Any], root: Path) -> Iterator[str]:
    """What is wrong with each task by itself, and beside the other sections."""
    try:
        tasks = look_up(TASKS, sections)
        derived = look_up("tasks.derive", sections)
    except UserError:  # `_missing` says so
        return
    if not isinstance(tasks, dict):
        yield f"{_at(root, TASKS)} must be a mapping of tasks by their names, or {{}}."
        return
    for name, task in tasks.items():
        where = f"{TASKS}.{name}"
        if not TASK_NAME.fullmatch(str(name)):
            yield f"{_at(root, where)} must have a name of letters, digits, _ and -."
            continue
        lacking = [key for key in WRITTEN_OUT if not (isinstance(task, dict) and task.get(key))]
        if lacking:
            yield f"{_at(root, where)} must say {', '.join(lacking)} itself, where {PIPELINE} finds it."
            continue
        try:
            cfg = read_params(DEFAULTS, FinetuneConfig, root / PARAMS_FILE, over=where)
        except UserError as error:
            yield str(error)
            continue
        yield from _places(where, cfg, sections, derived or {}, root)


def _places(where: str, cfg: FinetuneConfig, sections: Mapping[str, Any], derived: Mapping[str, Any], root: Path) -> Iterator[str]:
    """A start or examples that this build makes, but not under that name."""
    if start := BUILT.fullmatch(cfg.start.rstrip("/")):
        stage, family = start.groups()
        if family != cfg.family:
            yield f"{_at(root, f'{where}.start')} is `{cfg.start}`, but the task's family is {cfg.family}."
        elif stage != "pretrain" and family not in (sections.get(FAMILIES) or []):
            skipped = f"with `data/pretrain/{family}` the task would be skipped"
            yield f"{_at(root, f'{where}.start')} is not built, since `{FAMILIES}` does not name {family}; {skipped}."
    examples = DERIVED.fullmatch(cfg.data)
    if examples and examples[1] not in derived:
        yield f"{_at(root, f'{where}.data')} is made by no task of `tasks.derive`, which has {', '.join(derived) or 'none'}."


def _missing(sections: Mapping[str, Any], root: Path) -> Iterator[str]:
    """What a stage declares and params.yaml lacks: DVC says so only when it comes to that stage."""
    for stage, declared in declared_stages(root).items():
        for name in declared.get("params", []):
            try:
                look_up(name, sections)
            except UserError:
                yield f"{PARAMS_FILE} has no `{name}`, which the stage `{stage}` needs."


def main() -> None:
    """Print the faults, and which files of ours were loaded to find them."""
    root = Path.cwd()
    faults = faults_of()
    files = [
        Path(file) for name, module in sys.modules.items() if name.startswith("privllm") and (file := getattr(module, "__file__", None))
    ]
    code = sorted(str(file.relative_to(root)) for file in [*files, Path(__file__)] if file.is_relative_to(root))
    sys.stdout.write(json.dumps({"faults": faults, "code": code}) + "\n")


if __name__ == "__main__":
    main()
