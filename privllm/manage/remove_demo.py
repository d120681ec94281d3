"""Take the demo out again: its pages below data/sources/demo, and the tasks in params.yaml that are of those pages alone.

A derived task is the demo's where its `source` begins with the demo's folder; a fine-tuning task is where its data are such a task's.
params.yaml is edited as text, so that comments, order and everything else in it stay as people wrote them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from privllm.collect.demo import FOLDER, remove_pages
from privllm.core.errors import UserError
from privllm.core.plain_yaml import parse_yaml
from privllm.engine.digests import replacing

PARAMS = Path("params.yaml")
SOURCES = Path("data/sources")
DERIVED = "data/tasks/{}.jsonl"  # where the stage `tasks` writes the examples of a derived task
NAMED = 5


@dataclass(frozen=True)
class Removed:
    """What was taken out, and what was left where the demo was."""

    folder: Path
    pages: int
    tasks: list[str]  # dotted names of params.yaml
    others: list[Path]

    def lines(self) -> Iterator[str]:
        """For a person."""
        if self.pages:
            yield f"{self.pages:,} pages of the demo are out of {self.folder}."
        if self.tasks:
            yield f"{', '.join(self.tasks)} are out of {PARAMS} (`git diff {PARAMS}` shows them)."
        if self.others:
            named = ", ".join(str(path) for path in self.others[:NAMED]) + (", ..." if len(self.others) > NAMED else "")
            yield f"Not of the demo, so they stay: {named}."
        yield "Put your own documents into data/sources and say `dvc repro`." if self.pages or self.tasks else "There is no demo here."


def remove_demo(root: Path, sources: Path = SOURCES) -> Removed:
    """Take pages and tasks out of the repository at `root`; a second time there is nothing to take.

    Raises UserError before it removes anything where the sources are not there or params.yaml cannot be edited.
    """
    if not (root / sources).is_dir():
        raise UserError(f"there is no folder {root / sources}, so nothing was removed: run this from the root of the repository.")
    path = root / PARAMS
    text = path.read_text("utf-8") if path.is_file() else ""
    tasks = demo_tasks(parse_yaml(text) or {})
    left = without(text, tasks)
    if tasks:
        with replacing(path) as partial:
            partial.write_text(left, "utf-8")
    pages, others = remove_pages(root / sources)
    return Removed(sources / FOLDER, pages, tasks, others)


def demo_tasks(params: dict[str, Any]) -> list[str]:
    """The dotted names of the demo's tasks in params.yaml: those derived of its pages, and those tuned on what these give."""
    derive, tuned = ((params.get(section) or {}).get(key) or {} for section, key in (("tasks", "derive"), ("finetune", "tasks")))
    names = [name for name, task in derive.items() if str((task or {}).get("source", "")).startswith(f"^{FOLDER}/")]
    data = {DERIVED.format(name) for name in names}
    return [f"tasks.derive.{name}" for name in names] + [
        f"finetune.tasks.{name}" for name, task in tuned.items() if (task or {}).get("data") in data
    ]


def without(text: str, names: list[str]) -> str:
    """The YAML `text` without the entries of these dotted names, all else as it was.

    Raises UserError where its lines are not laid out so that they can be taken out (an entry that shares its line with another).
    """
    wanted = parse_yaml(text) or {}
    try:
        for name in names:
            _delete(wanted, name.split("."))
            text = _cut(text, name.split("."))
        as_wanted = not names or parse_yaml(text) == wanted
    except yaml.YAMLError:
        as_wanted = False
    if not as_wanted:
        raise UserError(f"{PARAMS} is not laid out one key to a line, so nothing was removed: take {', '.join(names)} out by hand.")
    return text


def _delete(values: dict[str, Any], path: list[str]) -> None:
    *sections, key = path
    for section in sections:
        values = values[section]
    del values[key]


def _cut(text: str, path: list[str]) -> str:
    """Take out the lines of the entry at `path`; a mapping that has lost its last entry becomes `{}`."""
    lines = text.splitlines(keepends=True)
    section: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    above: yaml.ScalarNode | None = None  # the key whose mapping holds the entry
    for name in path[:-1]:
        above, section = _entry(section, name)
    key, _ = _entry(section, path[-1])
    first, indent = key.start_mark.line, key.start_mark.column
    end = first + 1
    while end < len(lines) and _belongs(lines[end], indent):
        end += 1
    while not lines[end - 1].strip():  # blank lines before the next section are that one's
        end -= 1
    if len(section.value) == 1 and above is not None:
        line, column = above.end_mark.line, above.end_mark.column + 1  # behind the colon
        lines[line] = f"{lines[line][:column]} {{}}{lines[line][column:]}"
    return "".join(lines[:first] + lines[end:])


def _entry(section: yaml.MappingNode, name: str) -> tuple[yaml.ScalarNode, yaml.Node]:
    """The entry's key and value, with the places in the text where they stand."""
    return next((key, value) for key, value in section.value if key.value == name)


def _belongs(line: str, indent: int) -> bool:
    """Is this line, behind an entry's key, still that entry's?"""
    return not line.strip() or len(line) - len(line.lstrip(" ")) > indent
