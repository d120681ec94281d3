"""A dataset's file to examples: each row that can be used, once, and all others counted and named.

What is wrong with one row costs that row. What is wrong with the file is an error: no form that can be told (`dataset_forms`), splits that
some rows have and others not, numbers as tags without names, or not one row that can be used.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from privllm.core.bio_labels import OUTSIDE
from privllm.core.errors import UserError
from privllm.core.report import balance
from privllm.core.seed import digest
from privllm.tasks.dataset_forms import Row, Told, native, told_form
from privllm.tasks.formats import KINDS, SHAPES, Dataset, Example, InputOutput, Skipped, example_of, id_of
from privllm.tasks.line_faults import InvalidLine, error_at, quoted
from privllm.tasks.row_files import RowFile, open_rows

SHOWN = 5  # skipped rows on the terminal
MAX_NAMED = 1000  # and in the report
DIGITS = re.compile(r"-?(0|[1-9][0-9]{0,8})")
BASE = ("lines", "blank", "repeated", "skipped", "examples", "repaired")
CHANGES = {  # what a note says of them
    "tool_turns": "calls and answers of tools are left out",
    "openings": "messages of the assistant before the first question are left out",
    "joined": "messages in a row of one person are joined",
    "unanswered": "questions at the end without a reply are left out",
    "renamed": "examples have an id that an earlier one has, and get another",
}


def read_examples(path: Path, kind: str, labels: tuple[str, ...] = ()) -> Dataset:
    """Return all examples of the file, in its order, each once.

    `labels` are the allowed ones (for tokens: entity types); empty allows all. Where labels are numbers, they are their names in
    order (for tokens: all tags, `O` among them). Raises UserError for a file that is no dataset of this kind.
    """
    assert kind in KINDS, kind
    file = open_rows(path)
    told = told_form(path, kind, ((number, row) for number, row in file if isinstance(row, dict)), file.unit)
    labelled = _Labelled(file, kind, told, labels)
    counts: Counter[str] = Counter(dict.fromkeys(BASE, 0))
    examples: list[Example] = []
    skipped: list[Skipped] = []
    seen_contents: set[str] = set()
    seen_ids: set[str] = set()
    for number, row in file:
        counts["lines"] += 1
        if row is None:
            counts["blank"] += 1
            continue
        try:
            example, changes = labelled.example(number, row)
        except InvalidLine as fault:
            counts["skipped"] += 1
            skipped.append(Skipped(number, fault.reason, str(fault)))
            continue
        _check_split_is_given_like(file, example, examples)
        content = digest(repr((example.content, example.split)).encode())
        if content in seen_contents:
            counts["repeated"] += 1
            continue
        if example.id in seen_ids:
            example = replace(example, id=id_of(kind, example.content, example.split))
            counts["renamed"] += 1
        seen_contents.add(content)
        seen_ids.add(example.id)
        counts["examples"] += 1
        counts.update(changes)
        examples.append(example)
    if not examples:
        raise _no_examples(file, kind, skipped)
    balance(counts["lines"], counts["blank"], counts["repeated"], counts["skipped"], counts["examples"])
    assert told is not None
    notes = (*_notes(told, counts), *labelled.notes())
    return Dataset(path, kind, tuple(examples), dict(counts), file.unit, told.form.name, notes, tuple(skipped))


class _Labelled:
    """Reader of rows whose form is known; it gives numbers among their labels the names that the file or `labels` has."""

    def __init__(self, file: RowFile, kind: str, told: Told | None, labels: tuple[str, ...]) -> None:
        self.file = file
        self.kind = kind
        self.told = told
        self.names: tuple[str, ...] = ()
        self.allowed = labels
        self.numbered = False
        if told and kind in ("classification", "tokens"):
            (column,) = told.form.columns[1:]
            self.names = file.names.get(column) or file.names.get("") or labels
        if kind == "tokens" and OUTSIDE in labels:
            self.allowed = tuple(dict.fromkeys(tag[2:] for tag in labels if tag != OUTSIDE))

    def example(self, number: int, row: Any) -> tuple[Example, Counter[str]]:
        """Return the example that a row holds, and what was changed in it. Raises InvalidLine."""
        if isinstance(row, InvalidLine):
            raise row
        assert self.told is not None
        line = native(self.told.form, row)
        question = line.pop("question", "")
        if self.kind == "classification":
            line["label"] = self._name(number, line["label"])
        if self.kind == "tokens" and isinstance(line["labels"], list):
            line["labels"] = [self._name(number, tag) for tag in line["labels"]]
        example, changes = example_of(number, line, self.kind, self.allowed)
        if question and isinstance(example.content, InputOutput):
            example = replace(example, content=replace(example.content, question=question))
        return example, changes

    def _name(self, number: int, label: Any) -> Any:
        """Return the name of a label that is a number; any other as it is."""
        label = self._number(label)
        if not isinstance(label, int) or isinstance(label, bool):
            return label
        if str(label) in self.allowed:
            return str(label)
        self.numbered = True
        if not self.names and self.kind == "tokens":
            fault = "its tags are numbers, and nothing names them; list them in their order in params.yaml: `labels: [O, B-..., I-...]`"
            raise error_at(self.file.path, number, fault, self.file.unit)
        if label < 0:
            raise InvalidLine(f"the label {label} says that it has none", "no_label")
        if not self.names:
            return str(label)
        if label >= len(self.names):
            raise InvalidLine(f"the label {label} has no name; there are {len(self.names)} of them", "unknown_label")
        return self.names[label]

    def _number(self, label: Any) -> Any:
        """Return the number that a table has as digits, and pandas as a fraction where some rows have none; any other label as it is."""
        if isinstance(label, float) and label.is_integer():
            return int(label)
        if self.file.is_table and isinstance(label, str) and DIGITS.fullmatch(label):
            return int(label)
        return label

    def notes(self) -> list[str]:
        """Return what people should know of the labels."""
        if not self.numbered:
            return []
        meaning = f"named {', '.join(self.names)}, in this order" if self.names else "their own names"
        return [f"its labels are numbers: they are {meaning}"]


def _check_split_is_given_like(file: RowFile, example: Example, earlier: Sequence[Example]) -> None:
    if earlier and bool(example.split) != bool(earlier[0].split):
        fault = f'some {file.unit}s have "split" and others have none; give it to all of them, or to none'
        raise error_at(file.path, example.line, fault, file.unit)


def _no_examples(file: RowFile, kind: str, skipped: Sequence[Skipped]) -> UserError:
    if not skipped:
        return UserError(
            f"{file.path} holds no examples: put one {kind} example on each line, for example {SHAPES[kind]}."
        )
    first = skipped[0]
    return UserError(
        f"{file.path}, {file.unit} {first.line}: {first.fault}. None of its {len(skipped):,} examples can be used: fix them, "
        f"or name another file under `data` in params.yaml."
    )


def _notes(told: Told, counts: Counter[str]) -> list[str]:
    notes = []
    if told.ignored:
        notes.append(f"it is read as {told.form.name}; its columns {quoted(list(told.ignored))} are not read")
    for name, words in CHANGES.items():
        if counts[name]:
            notes.append(f"{counts[name]:,} {words}")
    return notes


def summary_of(dataset: Dataset) -> Row:
    """Return what the report says of the file: its form, notes, and each row that was skipped with the reason."""
    summary: Row = {"form": dataset.form, "notes": list(dataset.notes)}
    if dataset.skipped:
        summary["skipped"] = dict(sorted(Counter(row.reason for row in dataset.skipped).items()))
        summary["skipped_rows"] = {f"{dataset.unit} {row.line}": row.fault for row in dataset.skipped[:MAX_NAMED]}
    return summary


def told_of(dataset: Dataset) -> list[str]:
    """Return the lines that the terminal gets to see."""
    lines = [f"note: {dataset.path}: {note}." for note in dataset.notes]
    if not dataset.skipped:
        return lines
    used = f"{dataset.counts['examples']:,} are used"
    lines.append(
        f"note: {len(dataset.skipped):,} {dataset.unit}s of {dataset.path} hold no example and are skipped; {used}."
    )
    lines += [f"  {dataset.path}, {dataset.unit} {row.line}: {row.fault}" for row in dataset.skipped[:SHOWN]]
    if len(dataset.skipped) > SHOWN:
        lines.append(f"  and {len(dataset.skipped) - SHOWN:,} more, which the task's report names")
    return lines
