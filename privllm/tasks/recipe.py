"""Labelled examples derived from the corpus itself, by patterns or from annotations, without hand labels.

    data/dedup, data/annotate -> data/tasks/<name>.jsonl, in the formats of `formats`

A pattern on a document's path gives groups for the whole document, a pattern on its text one example
for each place where it matches; templates combine their named groups. Patterns are RE2 (through
Arrow), which takes linear time whatever the pattern. Tasks of the kind tokens are made of annotated
sentences instead (`grammar`). An example is in the split of its document, so a model evaluated on it
was never trained on that text. Nothing is trained here.
"""

import heapq
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from privllm.core.bio_labels import OUTSIDE
from privllm.core.records import whole_source
from privllm.core.report import add_up, balance, write_json, write_json_lines
from privllm.core.seed import name_digest
from privllm.core.tables import read_table, shards_of
from privllm.engine.store import NO_STORE, Store
from privllm.tasks.config import HAVE_ANSWERS, DeriveConfig, JsonLine, PlacedExample, TasksConfig
from privllm.tasks.grammar import examples_of_grammar
from privllm.tasks.patterns import examples_by_pattern, extract


def derive(
    cfg: TasksConfig,
    source: Path,
    annotations: Path,
    out: Path,
    store: Store = NO_STORE,
) -> dict[str, Any]:
    """Write `out/<name>.jsonl` for each task of `cfg.derive` and return the report.

    A task may come out empty. Without tasks there is a `none.json`.
    """
    out.mkdir(parents=True, exist_ok=True)
    workspace = out / ".shards"
    report = {}
    for name, task in sorted(cfg.derive.items()):
        jobs = _jobs(task, source, annotations)
        try:
            shard_counts = store.map(derive_shard, jobs, workspace, f"tasks: {name}")
            candidates = heapq.nsmallest(task.max_examples, _shard_lines(workspace), key=_hash_order)
        finally:
            shutil.rmtree(workspace, ignore_errors=True)
        lines, counts = _select(task, candidates)
        total = add_up(shard_counts)
        counts |= {key: total.get(key, 0) for key in ("documents", "matched")}
        example_count = total.get("examples", 0)
        counts["over_limit"] = max(0, example_count - task.max_examples)
        balance(
            example_count, *(counts[key] for key in ("over_limit", "repeated", "across_splits", "rare", "examples"))
        )
        write_json_lines(out / f"{name}.jsonl", lines)
        report[name] = counts
    if not cfg.derive:
        write_json(out / "none.json", {})  # DVC warns of an empty folder
    return {"derived": report}


def _jobs(task: DeriveConfig, source: Path, annotations: Path) -> list[tuple]:
    """Return the arguments of `derive_shard` for every shard.

    Annotations are passed to tasks of the kind tokens only, so that the others do not depend on them.
    """
    shards = shards_of(source)
    if task.kind == "tokens":
        return [(task, *paths) for paths in zip(shards, shards_of(annotations), strict=True)]
    return [(task, shard) for shard in shards]


def derive_shard(
    out: Path,
    cfg: DeriveConfig,
    shard: Path,
    annotations: Path | None = None,
) -> dict[str, int]:
    """Write the examples of one shard of DEDUPED as JSON lines, by document id and place; return counts."""
    counts: Counter[str] = Counter(documents=0, matched=0, examples=0)
    lines: list[JsonLine] = []
    annotation_of = {row["id"]: row for row in read_table(annotations).to_pylist()} if annotations else {}
    for document in sorted(_documents(shard), key=lambda row: row["id"]):
        identifier = document["id"]
        annotation = annotation_of.get(identifier)
        examples = examples_of(cfg, identifier, document["source"], document["text"], annotation)
        common = {"group": identifier, "split": document["split"]}
        lines += [{"id": f"{identifier}-{place}", **common, **example} for place, example in examples]
        counts.update(documents=1, matched=bool(examples), examples=len(examples))
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (out / f"{shard.stem}.jsonl").write_text(content, "utf-8")
    return dict(counts)


def examples_of(
    cfg: DeriveConfig,
    identifier: str,
    source: str,
    text: str,
    annotation: JsonLine | None = None,
) -> list[PlacedExample]:
    """Return the examples of one document, in the order of their places.

    `annotation` is the document's row of ANNOTATIONS, if it has one.
    """
    source_groups = extract([whole_source(source)], cfg.source)[0] if cfg.source else {}
    if source_groups is None:
        return []
    if cfg.kind != "tokens":
        candidates = examples_by_pattern(cfg, identifier, source_groups, text)
    elif annotation:
        candidates = examples_of_grammar(cfg.hidden, text, annotation)
    else:
        candidates = []
    first_of_input: dict[str, PlacedExample] = {}
    for place, example in candidates:
        input_text = _input_of(example)
        if len(input_text.split()) >= cfg.min_words:
            first_of_input.setdefault(input_text, (place, example))
    by_hash = sorted(first_of_input.values(), key=lambda placed: name_digest(identifier, placed[0]))
    return sorted(by_hash[: cfg.per_document], key=lambda placed: placed[0])


def _documents(shard: Path) -> Iterator[JsonLine]:
    columns = ["id", "source", "text", "split"]
    for batch in pq.ParquetFile(shard).iter_batches(columns=columns, use_threads=False):
        yield from batch.to_pylist()


def _shard_lines(folder: Path) -> Iterator[JsonLine]:
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def _hash_order(line: JsonLine) -> str:
    """Return the key by which examples are chosen when there are too many; no document can influence it."""
    return name_digest("tasks", line["id"])


def _input_of(line: JsonLine) -> str:
    if "tokens" in line:
        return " ".join(token or "_" for token in line["tokens"])
    if "messages" in line:
        return line["messages"][0]["content"]
    return line.get("text") or line["input"]


def _answer_of(line: JsonLine) -> str:
    return line["messages"][1]["content"] if "messages" in line else line.get("output", "")


def _labels_of(line: JsonLine) -> set[str]:
    if "label" in line:
        return {line["label"]}
    return {tag[2:] for tag in line.get("labels", []) if tag != OUTSIDE}


def _place_order(line: JsonLine) -> tuple[str, int]:
    return line["group"], int(line["id"].rpartition("-")[2])


def _select(cfg: DeriveConfig, lines: list[JsonLine]) -> tuple[list[JsonLine], dict[str, Any]]:
    """Return (lines, counts) without duplicates, leaks between splits and rare labels.

    Of equal inputs the first stays. A line leaves if its input or answer occurs in documents of
    two splits, or if one of its labels has too few examples to train on.
    """
    within_split = _within_one_split(cfg, sorted(lines, key=_place_order))
    first_of_input: dict[str, JsonLine] = {}
    for line in within_split:
        first_of_input.setdefault(_input_of(line), line)
    unique = list(first_of_input.values())
    rare = _rare_labels(unique, cfg.min_examples)
    selected = [line for line in unique if not _labels_of(line) & rare]
    counts: dict[str, Any] = {
        "across_splits": len(lines) - len(within_split),
        "repeated": len(within_split) - len(unique),
        "rare": len(unique) - len(selected),
        "rare_labels": len(rare),
        "examples": len(selected),
        "by_split": dict(sorted(Counter(line["split"] for line in selected).items())),
    }
    if cfg.kind not in HAVE_ANSWERS:
        by_label: Counter[str] = Counter()
        for line in selected:
            by_label.update(_labels_of(line))
        counts["by_label"] = dict(sorted(by_label.items()))
    return selected, counts


def _within_one_split(cfg: DeriveConfig, lines: list[JsonLine]) -> list[JsonLine]:
    """Return the lines whose input, and answer in words, occur in documents of one split only."""
    splits_of_input: defaultdict[str, set[str]] = defaultdict(set)
    splits_of_answer: defaultdict[str, set[str]] = defaultdict(set)
    for line in lines:
        splits_of_input[_input_of(line)].add(line["split"])
        splits_of_answer[_answer_of(line)].add(line["split"])
    survivors = [line for line in lines if len(splits_of_input[_input_of(line)]) == 1]
    if cfg.kind in HAVE_ANSWERS:
        survivors = [line for line in survivors if len(splits_of_answer[_answer_of(line)]) == 1]
    return survivors


def _rare_labels(lines: list[JsonLine], min_examples: int) -> set[str]:
    """Return the labels that have fewer than `min_examples` examples to train on."""
    labels: set[str] = set()
    train_counts: Counter[str] = Counter()
    for line in lines:
        labels |= _labels_of(line)
        if line["split"] == "train":
            train_counts.update(_labels_of(line))
    return {label for label in labels if train_counts[label] < min_examples}
