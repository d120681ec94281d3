"""tasks: labelled examples made of the corpus itself, by patterns or of its annotations; nobody labels anything.

    data/dedup, data/annotate -> data/tasks/<name>.jsonl, in the formats of `formats`

A pattern on a document's path gives what holds for all of it, a pattern on its text one example for each place where it matches;
templates put their named groups together. Patterns are RE2 (through Arrow), which takes linear time whatever is written. The kind tokens
is made of annotated sentences instead (`grammar`). An example is in the split of its document, so a model judged on it was never trained
on that text. It trains nothing.
"""

import heapq
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from privllm.core.bio_labels import OUTSIDE
from privllm.core.params import WrongValue, require
from privllm.core.report import balance, write_json_lines
from privllm.core.seed import name_digest, seed_of
from privllm.core.split import SplitConfig, split_of
from privllm.core.tables import read_table, shards_of
from privllm.engine.store import NO_STORE, Store
from privllm.tasks.grammar import examples_of_grammar

PASSAGE = "passage"  # the group that a text cut into passages gives
TEMPLATES: dict[str, tuple[str, ...]] = {
    "classification": ("text", "label"),
    "tokens": (),
    "text2text": ("input", "output"),
    "chat": ("user", "assistant"),
}
SLOT = re.compile(r"\{(\w+)\}")
NAME = re.compile(r"[a-z][a-z0-9_]*")

JsonLine = dict[str, Any]


@dataclass
class DeriveConfig:
    kind: str = "text2text"  # classification, text2text or chat, by patterns; tokens: sentences with parts of speech, where annotated
    source: str = ""  # RE2 pattern a document's path must match; its named groups can be used in `templates`; empty: all documents
    text: str = ""  # RE2 pattern tried from the start of every line; empty: the text is cut into passages, group `passage`
    window: int = 500  # characters that `text` sees from there on, or of a passage, [20, 10000]
    templates: dict[str, list[str]] = field(default_factory=dict)  # what the example's parts are made of; of several one by hash
    hide: str = ""  # a group whose words are taken out of a classification's text; empty: none
    hidden: float = 0.0  # of kind tokens: share of words that are hidden, and alone are asked for, [0, 1]; 0: all words are shown and asked
    min_words: int = 1  # an example's input has at least, >= 0
    per_document: int = 40  # examples of one document at most, by hash, [1, 1000000]
    max_examples: int = 20_000  # of all documents together at most, by hash, [1, 10000000]
    min_examples: int = 0  # of a label, to train on; labels with fewer are dropped and counted, >= 0


@dataclass
class TasksConfig:
    derive: dict[str, DeriveConfig] = field(default_factory=dict)  # by the task's name

    def __post_init__(self) -> None:
        for name, cfg in self.derive.items():
            where = f"tasks.derive.{name}"
            require(bool(NAME.fullmatch(name)), where, "a name of small letters, digits and _")
            require(cfg.kind in TEMPLATES, f"{where}.kind", ", ".join(TEMPLATES))
            wanted = TEMPLATES[cfg.kind]
            given = {key for key, choices in cfg.templates.items() if choices}
            require(given == set(wanted), f"{where}.templates", f"one list or more of texts under each of {' and '.join(wanted)}")
            require(0 <= cfg.hidden <= 1, f"{where}.hidden", "a share between 0 and 1")
            other = "text and hide empty" if cfg.kind == "tokens" else "hidden: 0, which is of the kind tokens"
            require(not (cfg.text or cfg.hide if cfg.kind == "tokens" else cfg.hidden), where, other)
            require(20 <= cfg.window <= 10_000, f"{where}.window", "between 20 and 10000 characters")
            require(1 <= cfg.per_document <= 1_000_000, f"{where}.per_document", "between 1 and 1000000")
            require(1 <= cfg.max_examples <= 10_000_000, f"{where}.max_examples", "between 1 and 10000000")
            for key in ("min_words", "min_examples"):
                require(getattr(cfg, key) >= 0, f"{where}.{key}", "0 or more")
            known = groups_of(cfg.source, f"{where}.source") | (groups_of(cfg.text, f"{where}.text") if cfg.text else {PASSAGE})
            used = {slot for choices in cfg.templates.values() for choice in choices for slot in SLOT.findall(choice)}
            used |= {cfg.hide} if cfg.hide else set()
            require(used <= known, where, f"made of groups that its patterns name: {', '.join(sorted(known))}")


def groups_of(pattern: str, key: str) -> set[str]:
    """Names of the groups of an RE2 pattern. Raises UserError for one that RE2 does not take or that leaves a group unnamed."""
    if not pattern:
        return set()
    try:
        found = pc.extract_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        why = str(error).strip().rstrip(".")
        raise WrongValue(key, f"is no RE2 pattern with named groups `(?P<name>...)`: {why}") from None
    return {part.name for part in found.type}


def derive(cfg: TasksConfig, split: SplitConfig, source: Path, annotations: Path, out: Path, store: Store = NO_STORE) -> dict[str, Any]:
    """Write `out/<name>.jsonl` for each task of `cfg.derive`; returns the report. A task may well come out empty."""
    out.mkdir(parents=True, exist_ok=True)
    report = {}
    for name, task in sorted(cfg.derive.items()):
        workspace = out / ".shards"
        try:
            shards = shards_of(source)
            beside: list[tuple[Path, ...]] = [()] * len(shards)  # what patterns make is not made anew when annotations change
            if task.kind == "tokens":
                beside = [(path,) for path in shards_of(annotations)]
            jobs = [(task, split, shard, *more) for shard, more in zip(shards, beside, strict=True)]
            found = store.map(derive_shard, jobs, workspace, f"tasks: {name}")
            lines, counts = _choose(task, heapq.nsmallest(task.max_examples, _shard_lines(workspace), key=_rank))
        finally:
            shutil.rmtree(workspace, ignore_errors=True)
        counts |= {key: sum(shard[key] for shard in found) for key in ("documents", "matched")}
        made = sum(shard["examples"] for shard in found)
        counts["over_limit"] = max(0, made - task.max_examples)
        balance(made, *(counts[way] for way in ("over_limit", "repeated", "across_splits", "rare", "examples")))
        write_json_lines(out / f"{name}.jsonl", lines)
        report[name] = counts
    return {"derived": report}


def derive_shard(out: Path, cfg: DeriveConfig, split: SplitConfig, shard: Path, annotations: Path | None = None) -> dict[str, int]:
    """The examples of one shard of DEDUPED as JSON lines, by document id and place; returns counts."""
    counts: Counter[str] = Counter(documents=0, matched=0, examples=0)
    lines: list[JsonLine] = []
    known = {row["id"]: row for row in read_table(annotations).to_pylist()} if annotations else {}
    for row in sorted(_rows(shard), key=lambda row: row["id"]):
        found = examples_of(cfg, row["id"], row["source"], row["text"], known.get(row["id"]))
        lines += [{"id": f"{row['id']}-{place}", "group": row["id"], "split": split_of(split, row["cluster"]), **e} for place, e in found]
        counts.update(documents=1, matched=bool(found), examples=len(found))
    (out / f"{shard.stem}.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    return dict(counts)


def examples_of(
    cfg: DeriveConfig, identifier: str, source: str, text: str, annotation: JsonLine | None = None
) -> list[tuple[int, JsonLine]]:
    """(place, the example's own part of its line) of one document, in the order of their places; `annotation` is its row, if any."""
    whole = _extract([source], cfg.source)[0] if cfg.source else {}
    if whole is None:
        return []
    if cfg.kind == "tokens":
        found = examples_of_grammar(cfg.hidden, text, annotation) if annotation else []
    else:
        found = _by_pattern(cfg, identifier, whole, text)
    made: dict[str, tuple[int, JsonLine]] = {}
    for place, example in found:
        if len(_given(example).split()) >= cfg.min_words:
            made.setdefault(_given(example), (place, example))
    chosen = sorted(made.values(), key=lambda item: name_digest(identifier, item[0]))[: cfg.per_document]
    return sorted(chosen, key=lambda item: item[0])


def _by_pattern(cfg: DeriveConfig, identifier: str, whole: dict[str, str], text: str) -> list[tuple[int, JsonLine]]:
    windows = _windows(text, cfg.window) if cfg.text else _passages(text, cfg.window)
    parts = _extract(windows, cfg.text) if cfg.text else [{PASSAGE: window} for window in windows]
    made = [(place, _fill(cfg, {**whole, **part}, seed_of(identifier, place))) for place, part in enumerate(parts) if part is not None]
    return [(place, example) for place, example in made if example]


def _rows(shard: Path) -> Iterator[JsonLine]:
    for batch in pq.ParquetFile(shard).iter_batches(columns=["id", "source", "text", "cluster"], use_threads=False):
        yield from batch.to_pylist()


def _shard_lines(folder: Path) -> Iterator[JsonLine]:
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def _rank(line: JsonLine) -> str:
    """Who stays when there are too many: no order that a document could have a say in."""
    return name_digest("tasks", line["id"])


def _windows(text: str, size: int) -> list[str]:
    """The first `size` characters from the start of each line on."""
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    return [text[start : start + size] for start in starts]


def _passages(text: str, size: int) -> list[str]:
    """Pieces of at most `size` characters, cut at white space where there is some."""
    pieces, words = [], text.split()
    piece = ""
    for word in words:
        if piece and len(piece) + 1 + len(word) > size:
            pieces.append(piece)
            piece = ""
        piece = f"{piece} {word}"[:size] if piece else word[:size]
    return [*pieces, piece] if piece else pieces


def _extract(texts: list[str], pattern: str) -> list[dict[str, str] | None]:
    """The named groups of the pattern where it matches a text from its start."""
    return pc.extract_regex(pa.array(texts, pa.string()), rf"\A(?:{pattern})").to_pylist()


def _fill(cfg: DeriveConfig, groups: dict[str, str], seed: int) -> JsonLine | None:
    """An example from templates; None where a part comes out empty."""
    tidy = {name: " ".join(value.split()) for name, value in groups.items()}
    if cfg.hide:
        hidden = {word for word in re.split(r"[\W_]+", tidy[cfg.hide]) if word}
        pattern = re.compile("|".join(rf"\w*{re.escape(word)}\w*" for word in sorted(hidden)), re.IGNORECASE)
        shown = {name: " ".join(pattern.sub(" ", value).split()) if hidden else value for name, value in tidy.items()}
    else:
        shown = tidy
    made = {}
    for part in TEMPLATES[cfg.kind]:
        choices = cfg.templates[part]
        values = tidy if part == "label" else shown
        made[part] = SLOT.sub(lambda slot: values[slot[1]], choices[seed % len(choices)]).strip()  # noqa: B023
    if not all(made.values()):
        return None
    if cfg.kind == "chat":
        return {"messages": [{"role": role, "content": made[role]} for role in ("user", "assistant")]}
    return made


def _given(line: JsonLine) -> str:
    if "tokens" in line:
        return " ".join(token or "_" for token in line["tokens"])
    return line["messages"][0]["content"] if "messages" in line else line.get("text") or line["input"]


def _answer(line: JsonLine) -> str:
    return line["messages"][1]["content"] if "messages" in line else line.get("output", "")


def _labels(line: JsonLine) -> set[str]:
    return {line["label"]} if "label" in line else {tag[2:] for tag in line.get("labels", []) if tag != OUTSIDE}


def _choose(cfg: DeriveConfig, lines: list[JsonLine]) -> tuple[list[JsonLine], dict[str, Any]]:
    """The lines that stay: one of equal inputs, none whose input or answer stands in documents of two splits, none with a rare label."""
    lines = sorted(lines, key=lambda line: (line["group"], int(line["id"].rpartition("-")[2])))
    splits: dict[str, set[str]] = {}
    for line in lines:
        for part in ("given " + _given(line), "answer " + _answer(line)):
            splits.setdefault(part, set()).add(line["split"])
    answers = cfg.kind in ("text2text", "chat")
    one_sided = [
        line for line in lines if len(splits["given " + _given(line)]) == 1 and not (answers and len(splits["answer " + _answer(line)]) > 1)
    ]
    first: dict[str, JsonLine] = {}
    for line in one_sided:
        first.setdefault(_given(line), line)
    labels = Counter(label for line in first.values() if line["split"] == "train" for label in _labels(line))
    rare = {label for line in first.values() for label in _labels(line) if labels[label] < cfg.min_examples}
    kept = [line for line in first.values() if not _labels(line) & rare]
    counts: dict[str, Any] = {
        "across_splits": len(lines) - len(one_sided),
        "repeated": len(one_sided) - len(first),
        "rare": len(first) - len(kept),
        "rare_labels": len(rare),
        "examples": len(kept),
        "by_split": dict(sorted(Counter(line["split"] for line in kept).items())),
    }
    if not answers:
        counts["by_label"] = dict(sorted(Counter(label for line in kept for label in _labels(line)).items()))
    return kept, counts
