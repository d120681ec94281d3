"""Writers of reports/<stage>.json (what went in, what came out) and of other JSON.

Only numbers that are equal on every run belong into a report (DVC diffs them across commits);
durations go to the untracked log of `engine.stage`.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Write `value` to a file as sorted, indented JSON; a reader never sees half of it."""
    write_whole(path, json_text(value))


def write_whole(path: Path, text: str) -> None:
    """Write `text` so that a reader never sees half a file.

    The next process overwrites what a killed one has left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, "utf-8")
    partial.replace(path)


def write_report(path: Path, figures: dict[str, Any]) -> None:
    """Write a stage's report without empty lists.

    `dvc plots show`, which reads the file, fails on them.
    """
    write_json(path, without_empty_lists(figures))


def without_empty_lists(figures: dict[str, Any]) -> dict[str, Any]:
    """Return `figures` without its empty lists, those of nested mappings included."""
    filtered = {}
    for key, value in figures.items():
        if isinstance(value, dict):
            filtered[key] = without_empty_lists(value)
        elif value != []:
            filtered[key] = value
    return filtered


def json_text(value: Any) -> str:
    """Return `value` as sorted, indented JSON with a final newline. Raises ValueError for NaN."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def write_json_lines(path: Path, rows: Iterable[Any]) -> None:
    """Write a line of JSON for each row.

    Without rows it is one empty line, for DVC warns of empty files that a stage needs.
    """
    lines = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    path.write_bytes((lines or "\n").encode())


def add_up(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sum of the shards' counts, key by key."""
    total: Counter[str] = Counter()
    for shard_counts in counts:
        total.update(shard_counts)
    return dict(sorted(total.items()))


def balance(documents_in: int, *documents_out: int) -> None:
    """Assert that a stage has lost no document: it wrote, or wrote as dropped, all it read."""
    outputs = " + ".join(map(str, documents_out))
    assert documents_in == sum(documents_out), f"{documents_in} documents entered, {outputs} left"
