"""reports/<stage>.json: what went in, what came out, and that it adds up.

Only numbers that are equal on every run belong here (DVC diffs them across commits); durations go to
`engine.stage`'s untracked log.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """`json_text` of `value` into a file, see `write_whole`."""
    write_whole(path, json_text(value))


def write_whole(path: Path, text: str) -> None:
    """Write `text` so that a reader never sees half a file; what a killed process has left, the next one overwrites."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, "utf-8")
    partial.replace(path)


def write_report(path: Path, figures: dict[str, Any]) -> None:
    """`write_json` of a stage's report, whose empty lists are left out: over them `dvc plots show`, which reads the file, stumbles."""
    write_json(path, without_empty_lists(figures))


def without_empty_lists(figures: dict[str, Any]) -> dict[str, Any]:
    """`figures` but for its empty lists, however deep in mappings."""
    kept = {key: value for key, value in figures.items() if value != []}
    return {key: without_empty_lists(value) if isinstance(value, dict) else value for key, value in kept.items()}


def json_text(value: Any) -> str:
    """`value` as sorted, indented JSON with a final newline; NaN is refused."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def write_json_lines(path: Path, rows: Iterable[Any]) -> None:
    """One line of JSON for each row; of no row one empty line, for DVC warns of every empty file that a stage depends on."""
    lines = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    path.write_bytes((lines or "\n").encode())


def add_up(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum of the shards' counts, key by key."""
    total: Counter[str] = Counter()
    for shard in counts:
        total.update(shard)
    return dict(sorted(total.items()))


def balance(entered: int, *left: int) -> None:
    """Assert that nothing was lost between the door and the exits of a stage."""
    assert entered == sum(left), f"{entered} documents entered, {' + '.join(map(str, left))} left"
