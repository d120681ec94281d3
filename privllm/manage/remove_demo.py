"""Removal of the demo: its pages below data/sources/demo, and the tasks in params.yaml that use only these.

A derived task belongs to the demo where its `source` begins with the demo's folder; a fine-tuning task
where its data are the output of such a task. params.yaml is edited as text, so comments, order and
everything else stay as people wrote them.
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
class RemovedDemo:
    """What was removed, and which files in the demo's folder were left."""

    folder: Path
    pages: int
    tasks: list[str]  # dotted names of params.yaml
    others: list[Path]

    def lines(self) -> Iterator[str]:
        """Yield lines for a terminal."""
        if self.pages:
            yield f"{self.pages:,} pages of the demo were removed from {self.folder}."
        if self.tasks:
            yield f"{', '.join(self.tasks)} were removed from {PARAMS} (`git diff {PARAMS}` shows them)."
        if self.others:
            names = ", ".join(str(path) for path in self.others[:NAMED])
            more = ", ..." if len(self.others) > NAMED else ""
            yield f"Not part of the demo, so they stay: {names}{more}."
        if self.pages or self.tasks:
            yield "Put your own documents into data/sources and run `dvc repro`."
        else:
            yield "There is no demo here."


def remove_demo(root: Path, sources: Path = SOURCES) -> RemovedDemo:
    """Remove pages and tasks from the repository at `root`; repeating it removes nothing more.

    Raises UserError before it removes anything where the sources are not there or params.yaml cannot be edited.
    """
    if not (root / sources).is_dir():
        raise UserError(
            f"there is no folder {root / sources}, so nothing was removed: run this from the root of the repository."
        )
    path = root / PARAMS
    text = path.read_text("utf-8") if path.is_file() else ""
    tasks = demo_tasks(parse_yaml(text) or {})
    remaining_text = without(text, tasks)
    if tasks:
        with replacing(path) as partial:
            partial.write_text(remaining_text, "utf-8")
    pages, other_files = remove_pages(root / sources)
    return RemovedDemo(sources / FOLDER, pages, tasks, other_files)


def demo_tasks(params: dict[str, Any]) -> list[str]:
    """Return the dotted names of the demo's tasks in params.yaml.

    These are the tasks derived from its pages, and the fine-tuning tasks that use their examples.
    """
    names: list[str] = []
    demo_data: set[str] = set()
    for name, task in _entries(params, "tasks", "derive").items():
        if str((task or {}).get("source", "")).startswith(f"^{FOLDER}/"):
            names.append(f"tasks.derive.{name}")
            demo_data.add(DERIVED.format(name))
    for name, task in _entries(params, "finetune", "tasks").items():
        if (task or {}).get("data") in demo_data:
            names.append(f"finetune.tasks.{name}")
    return names


def _entries(params: dict[str, Any], section: str, key: str) -> dict[str, Any]:
    return (params.get(section) or {}).get(key) or {}


def without(text: str, names: list[str]) -> str:
    """Return the YAML `text` without the entries of these dotted names; all other text is unchanged.

    Raises UserError where an entry cannot be cut out because it shares its line with another.
    """
    expected = parse_yaml(text) or {}
    try:
        for name in names:
            _delete(expected, name.split("."))
            text = _cut(text, name.split("."))
        is_expected = not names or parse_yaml(text) == expected
    except yaml.YAMLError:
        is_expected = False
    if not is_expected:
        entries = ", ".join(names)
        raise UserError(f"{PARAMS} does not have one key per line, so nothing was removed: take {entries} out by hand.")
    return text


def _delete(values: dict[str, Any], path: list[str]) -> None:
    *sections, key = path
    for section in sections:
        values = values[section]
    del values[key]


def _cut(text: str, path: list[str]) -> str:
    """Remove the lines of the entry at `path`; a mapping that has lost its last entry becomes `{}`."""
    lines = text.splitlines(keepends=True)
    section: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    section_key: yaml.ScalarNode | None = None  # the key whose mapping holds the entry
    for name in path[:-1]:
        section_key, section = _find_entry(section, name)
    key, _ = _find_entry(section, path[-1])
    first, indent = key.start_mark.line, key.start_mark.column
    end = first + 1
    while end < len(lines) and _belongs(lines[end], indent):
        end += 1
    while not lines[end - 1].strip():  # blank lines before the next section belong to that
        end -= 1
    if len(section.value) == 1 and section_key is not None:
        line, column = section_key.end_mark.line, section_key.end_mark.column + 1  # after the colon
        lines[line] = f"{lines[line][:column]} {{}}{lines[line][column:]}"
    return "".join(lines[:first] + lines[end:])


def _find_entry(section: yaml.MappingNode, name: str) -> tuple[yaml.ScalarNode, yaml.Node]:
    """Return an entry's key and value, with their positions in the text."""
    return next((key, value) for key, value in section.value if key.value == name)


def _belongs(line: str, indent: int) -> bool:
    """Return whether a line after an entry's key still belongs to the entry."""
    return not line.strip() or len(line) - len(line.lstrip(" ")) > indent
