"""A check of all of params.yaml, before anything is built.

`python -m privllm.parameters.check` prints the faults as JSON, for `engine.params_check`. It must import nothing heavy,
so that the answer comes within a second.
"""

import difflib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from privllm.core.base_model import BASE, INCUMBENT, SCRATCH, TOKENIZER, starts_in, untrainable
from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.params import PARAMS_FILE, WrongValue, line_of, load_sections, read_params
from privllm.engine.import_guard import OURS
from privllm.engine.pipeline import PIPELINE, TEMPLATE, declared_stages, look_up
from privllm.parameters.extension_faults import extension_faults
from privllm.parameters.sections import DEFAULTS, FAMILIES, SECTIONS, TASKS, WITHOUT_DATACLASS
from privllm.train.config import FinetuneConfig

INCUMBENT_FOLDER = Path("data/promoted/model/incumbent")
TASK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # a task's name is a folder's name, and part of a stage's name
REQUIRED_TASK_KEYS = (
    "family",
    "data",
    "start",
)  # dvc.yaml's `foreach` reads them from the task's own entry
BUILT_MODEL = re.compile(r"data/(pretrain|align|export)/([^/]+)")  # a start that this build makes: stage, family
BUILT_EXAMPLES = re.compile(r"data/tasks/([^/]+)\.jsonl")  # examples that this build makes: task of `tasks.derive`


def faults_of(root: Path = Path()) -> list[str]:
    """Return a sentence for each value of params.yaml that a stage would refuse."""
    try:
        sections = load_sections(root / PARAMS_FILE)
        faults = [
            *_family_faults(sections, root),
            *_base_faults(sections, root),
            *_schema_faults(sections, root),
            *_task_faults(sections, root),
            *extension_faults(root),
        ]
        if not faults:  # with these faults DVC may not be able to list the stages
            faults += _missing_sections(sections, root)
        faults = [*_unknown_sections(sections, root), *faults]
    except UserError as error:
        return [str(error)]
    return list(dict.fromkeys(faults))


def _at(root: Path, dotted: str) -> str:
    """Return the name and the place of a parameter, as faults begin with it."""
    return f"parameter `{dotted}` ({PARAMS_FILE}, line {line_of(root / PARAMS_FILE, dotted)})"


def _unknown_sections(sections: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Yield a fault for each section that is neither ours nor named by a stage of dvc.yaml."""
    our_sections = {*WITHOUT_DATACLASS, *(name.partition(".")[0] for name in SECTIONS)}
    unknown = [name for name in sections if name not in our_sections]
    if not unknown:
        return
    declared_sections = _sections_in_pipeline(root)
    for name in unknown:
        if name in declared_sections:
            continue
        hint = f"no stage of {PIPELINE} names it among its `params`."
        close_matches = difflib.get_close_matches(str(name), our_sections, n=1)
        if close_matches:
            hint = f"did you mean `{close_matches[0]}`?"
        line = line_of(root / PARAMS_FILE, str(name))
        yield f"unknown section `{name}` ({PARAMS_FILE}, line {line}); {hint}"


def _sections_in_pipeline(root: Path) -> set[str]:
    """Return the sections that dvc.yaml names, among the `params` of stages or in templates."""
    names = set()
    for stage in declared_stages(root).values():
        for param in stage.get("params", []):
            names.add(re.split(r"[.\[]", param)[0])
    pipeline = (root / PIPELINE).read_text("utf-8")
    for name in TEMPLATE.findall(pipeline):
        names.add(name.partition(".")[0])
    return names


def _family_faults(sections: Mapping[str, Any], root: Path) -> Iterator[str]:
    families = sections.get(FAMILIES)
    if not _valid_families(families):
        choices = ", ".join(TRAITS)
        yield f"{_at(root, FAMILIES)} is {families}: it must be a list of one or more of {choices}, each once."


def _base_faults(sections: Mapping[str, Any], root: Path) -> Iterator[str]:
    families = sections.get(FAMILIES)
    try:
        starts = starts_in(sections, families if _valid_families(families) else TRAITS)  # type: ignore[arg-type]
    except WrongValue as error:
        yield f"{_at(root, error.key)} {error.fault}."
        return
    for start in dict.fromkeys(starts.values()):
        place = INCUMBENT_FOLDER if start.place == INCUMBENT else Path(start.place)
        if start.place == SCRATCH or any((root / name).exists() for name in (place, f"{place}.dvc")):
            continue
        hint = "nothing has been promoted yet (`privllm promote`)" if start.place == INCUMBENT else "it is not there"
        yield f"{_at(root, start.key)} is {start.place}: {hint}."
    for name, start in starts.items():
        if name != TOKENIZER and (reason := _untrainable_base(root, start.place)):
            yield f"{_at(root, start.key)}: {reason}."


def _untrainable_base(root: Path, place: str) -> str:
    """Return why no family can begin with a model below data/base; "" where one can, or `start` is to say what is wrong with it."""
    path = root / place / "config.json"
    if not BASE.fullmatch(place) or not path.is_file():
        return ""
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError:
        return ""
    return untrainable(config, place) if isinstance(config, dict) else ""


def _valid_families(families: Any) -> bool:
    if not isinstance(families, list) or not families:
        return False
    if len(set(map(str, families))) < len(families):
        return False
    return all(family in TRAITS for family in families)


def _schema_faults(sections: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Yield what the dataclasses refuse, and unknown keys of `finetune`."""
    for section, schema in SECTIONS.items():
        try:
            read_params(section, schema, root / PARAMS_FILE)
        except UserError as error:
            yield str(error)
    finetune = sections.get("finetune")
    if not isinstance(finetune, dict):
        return
    for name in finetune:
        section = f"finetune.{name}"
        if section not in (DEFAULTS, TASKS):
            yield f"unknown {_at(root, section)}; known keys: defaults, tasks."


def _task_faults(sections: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Yield the faults of each task, also those that show only beside the other sections."""
    try:
        tasks = look_up(TASKS, sections)
        derived_tasks = look_up("tasks.derive", sections)
    except UserError:  # `_missing_sections` reports it
        return
    if not isinstance(tasks, dict):
        yield f"{_at(root, TASKS)} must be a mapping of tasks by their names, or {{}}."
        return
    for name, task in tasks.items():
        section = f"{TASKS}.{name}"
        if not TASK_NAME.fullmatch(str(name)):
            yield f"{_at(root, section)} must have a name of letters, digits, _ and -."
            continue
        values = task if isinstance(task, dict) else {}
        missing_keys = [key for key in REQUIRED_TASK_KEYS if not values.get(key)]
        if missing_keys:
            yield f"{_at(root, section)} must say {', '.join(missing_keys)} itself, where {PIPELINE} finds it."
            continue
        try:
            config = read_params(DEFAULTS, FinetuneConfig, root / PARAMS_FILE, over=section)
        except UserError as error:
            yield str(error)
            continue
        yield from _start_faults(section, config, sections, root)
        yield from _data_faults(section, config, derived_tasks or {}, root)


def _start_faults(
    section: str,
    config: FinetuneConfig,
    sections: Mapping[str, Any],
    root: Path,
) -> Iterator[str]:
    """Yield a fault where a start in this build has another family, or is not built."""
    match = BUILT_MODEL.fullmatch(config.start.rstrip("/"))
    if not match:
        return
    stage, family = match.groups()
    start = _at(root, f"{section}.start")
    if family != config.family:
        yield f"{start} is `{config.start}`, but the task's family is {config.family}."
    elif stage != "pretrain" and family not in (sections.get(FAMILIES) or []):
        hint = f"with `data/pretrain/{family}` the task would be skipped"
        yield f"{start} is not built, since `{FAMILIES}` does not name {family}; {hint}."


def _data_faults(
    section: str,
    config: FinetuneConfig,
    derived_tasks: Mapping[str, Any],
    root: Path,
) -> Iterator[str]:
    """Yield a fault where examples in data/tasks are written by no task of `tasks.derive`."""
    match = BUILT_EXAMPLES.fullmatch(config.data)
    if match and match[1] not in derived_tasks:
        choices = ", ".join(derived_tasks) or "none"
        yield f"{_at(root, f'{section}.data')} is made by no task of `tasks.derive`, which has {choices}."


def _missing_sections(sections: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Yield a fault for each parameter that a stage declares and params.yaml lacks.

    DVC reports it only when it comes to that stage.
    """
    for stage, declaration in declared_stages(root).items():
        for name in declaration.get("params", []):
            try:
                look_up(name, sections)
            except UserError:
                yield f"{PARAMS_FILE} has no `{name}`, which the stage `{stage}` needs."


def _loaded_files(root: Path) -> list[str]:
    """Return the files of our modules that are loaded; those below `root` relative to it."""
    files = {Path(__file__)}
    for name, module in sys.modules.items():
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] in OURS and file:
            files.add(Path(file))
    return sorted(str(file.relative_to(root) if file.is_relative_to(root) else file) for file in files)


def main() -> None:
    """Print the faults, and the files of ours that were loaded to find them."""
    faults = faults_of()
    report = {"faults": faults, "code": _loaded_files(Path.cwd())}
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
