"""Two revisions' figures beside each other: every number of the declared reports, what differs, how surely, and which is better.

A revision is what git knows by a name, or the workspace. Nothing is checked out: metrics are read in git, the scores of single documents
in DVC's cache, by dvc.lock. Where the cache lacks these there are figures without an interval, and the command that fetches them.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import yaml

from privllm.core.errors import UserError
from privllm.core.plain_yaml import parse_yaml
from privllm.engine.cache import Cache, find_cache
from privllm.engine.pipeline import expand_stages
from privllm.manage.history import DIRECTORY, LARGEST, LOCK, NAMED, blobs, git
from privllm.stats.paired import LEAST, SCORES, Overlap, Paired, paired, read_scores

WORKSPACE = "workspace"
REPORTS = "reports/"
REPEATED = "reports/metrics/"  # a few figures of the reports, for `dvc exp show`
COMMON = "common."  # before a figure on the documents that both scored
COMMIT = re.compile(r"[0-9a-f]{40,64}")
TOKENIZER = "data/tokenizer"
UP, DOWN = 1, -1
GOOD = {"accuracy": UP, "bleu": UP, "chrf": UP, "bits_per_byte": DOWN} | dict.fromkeys(
    ("loss", "train_loss", "validation_loss", "perplexity", "validation_perplexity"), DOWN
)
BY_TOKEN = set(GOOD) - {"bits_per_byte", "bleu", "chrf"}  # another vocabulary cuts other tokens: no longer the same question
BETTER, WORSE, NO_DIFFERENCE, UNSURE = "better", "worse", "no difference shown", " (no interval)"
OTHER_DOCUMENTS, OTHER_VOCABULARY = "other documents", "other vocabulary"


@dataclass(frozen=True)
class Side:
    """One revision."""

    name: str  # as it was typed
    commit: str  # "" for the workspace
    stages: dict[str, tuple[str, list[str]]]  # {report: its stage, and the stage's outputs}, for each that is declared
    metrics: dict[str, dict[str, int | float]]  # {report: {dotted name: number}}, for each that is there
    locked: dict[str, dict[str, str]]  # {stage: {path: MD5 of what it read and made}}

    def __str__(self) -> str:
        short = self.commit[:9]
        return self.name if not short or self.name.startswith(short) else f"{self.name} ({short})"

    def vocabulary(self, file: str) -> str:
        stage, _ = self.stages.get(file, ("", []))
        return self.locked.get(stage, {}).get(TOKENIZER, "")


class Row(NamedTuple):
    """One metric."""

    file: str  # evaluate/causal
    metric: str  # by_source.notes.loss; COMMON goes before what the documents in common say
    a: int | float | None  # None: that revision does not have it
    b: int | float | None
    difference: int | float | None  # b - a
    interval: tuple[float, float] | None
    verdict: str  # "" where nobody knows which direction is good

    @property
    def name(self) -> str:
        return f"{self.file}:{self.metric}"


@dataclass
class Comparison:
    a: Side
    b: Side
    rows: list[Row] = field(default_factory=list)
    documents: dict[str, Overlap] = field(default_factory=dict)  # by file, where both revisions' scores could be read
    notes: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        sides = {key: {"revision": side.name, "commit": side.commit} for key, side in (("a", self.a), ("b", self.b))}
        documents = {file: one._asdict() for file, one in self.documents.items()}
        return {**sides, "metrics": [row._asdict() for row in self.rows], "documents": documents, "notes": self.notes}

    def shown(self, everything: bool) -> list[Row]:
        """What a person wants to see: that which differs, or all. What only repeats is left out."""
        twice = {file for file, overlap in self.documents.items() if overlap.same}
        rows = [row for row in self.rows if not (row.file in twice and row.metric.startswith(COMMON))]
        both = {file for file in self.a.metrics if file in self.b.metrics}
        return rows if everything else [row for row in rows if row.file in both and (row.a != row.b or row.metric.startswith(COMMON))]


def compare(root: Path, a: str, b: str, family: str = "") -> Comparison:
    """Revision `b` against `a`. Raises UserError for what git or the build does not know, and where there is nothing to compare."""
    found = Comparison(side_of(root, a), side_of(root, b))
    files = [file for file in dict.fromkeys([*found.b.metrics, *found.a.metrics]) if not family or file.partition("/")[2] == family]
    if not files:
        known = ", ".join(sorted({file.partition("/")[2] for side in (found.a, found.b) for file in side.metrics} - {""})) or "none"
        lack = f"no metrics of a family `{family}` (known: {known})" if family else "no metrics: run `dvc repro`, and commit reports"
        raise UserError(f"{found.a} and {found.b} have {lack}.")
    cache = find_cache(root)
    for file in files:
        missing = [side for side in (found.a, found.b) if file not in side.metrics]
        figures: dict[str, Paired] = {}
        if missing:
            found.notes.append(f"{file}: {missing[0]} has no such metrics.")
        elif found.b.stages[file][0].partition("@")[0] == "evaluate":
            figures = _figures(root, found, file, cache)
        found.rows += _rows(found, file, figures)
    return found


def _rows(found: Comparison, file: str, figures: Mapping[str, Paired]) -> Iterator[Row]:
    a, b = (side.metrics.get(file, {}) for side in (found.a, found.b))
    overlap, vocabularies = found.documents.get(file), {side.vocabulary(file) for side in (found.a, found.b)}
    recut = len(vocabularies - {""}) > 1
    if recut and any(_leaf(metric) in BY_TOKEN for metric in b):
        found.notes.append(f"{file}: another vocabulary. Loss, perplexity and accuracy are by token, so only bits_per_byte compares.")
    for metric in dict.fromkeys([*b, *a]):
        old, new = a.get(metric), b.get(metric)
        difference = None if old is None or new is None else _minus(new, old)
        interval = figures[metric].interval if metric in figures and overlap and overlap.same else None
        verdict = _verdict(metric, difference, interval, recut, bool(overlap and not overlap.same))
        yield Row(file, metric, old, new, difference, None if verdict == OTHER_VOCABULARY else interval, verdict)
    for metric, (old, new, difference, interval) in figures.items():
        verdict = _verdict(metric, difference, interval, recut, False)
        yield Row(file, COMMON + metric, old, new, difference, None if verdict == OTHER_VOCABULARY else interval, verdict)


def _verdict(metric: str, difference: float | None, interval: tuple[float, float] | None, recut: bool, others: bool) -> str:
    leaf = _leaf(metric)
    if leaf not in GOOD or difference is None:
        return ""
    if recut and leaf in BY_TOKEN:
        return OTHER_VOCABULARY
    if others:
        return OTHER_DOCUMENTS
    if interval:
        low, high = (GOOD[leaf] * end for end in interval)
        return NO_DIFFERENCE if min(low, high) <= 0 <= max(low, high) else BETTER if low > 0 else WORSE
    return (BETTER if GOOD[leaf] * difference > 0 else WORSE) + UNSURE if difference else ""


def _leaf(metric: str) -> str:
    return metric.rpartition(".")[2]


def _minus(b: int | float, a: int | float) -> int | float:
    """b - a of the decimals as they are written: 0.31 - 0.3 is 0.01, or a limit of 0.01 would be broken by rounding."""
    return b - a if isinstance(a, int) and isinstance(b, int) else float(Decimal(repr(b)) - Decimal(repr(a)))


def _figures(root: Path, found: Comparison, file: str, cache: Cache | None) -> dict[str, Paired]:
    """Figures on the documents that both scored; `found` is told how many these are, or what is missing."""
    tables = []
    for side in (found.a, found.b):
        table, remedy = _scores(root, side, file, cache)
        if table is None:
            found.notes.append(f"{file}: no intervals, for this machine lacks the document scores of {side}: {remedy}")
        else:
            tables.append(table)
    if len(tables) < 2:
        return {}
    overlap, figures = paired(*tables)
    found.documents[file] = overlap
    said = f"{file}: {overlap.common:,} documents scored by both"
    said += f" ({overlap.changed:,} of them with other bytes: edited, or cut elsewhere)" if overlap.changed else ""
    said += f", {overlap.only_a:,} only by {found.a}, {overlap.only_b:,} only by {found.b}" if overlap.only_a or overlap.only_b else ""
    said += f"; an interval takes {LEAST}" if overlap.common < LEAST else ""
    found.notes.append(f"{said}." if overlap.same else f"{said}. `{COMMON}` goes before figures on those in common.")
    return figures


def _scores(root: Path, side: Side, file: str, cache: Cache | None) -> tuple[pa.Table | None, str]:
    """The scores of documents, or None and what would bring them."""
    stage, outs = side.stages[file]
    locked = side.locked.get(stage, {})
    for out in outs:
        if not side.commit and (table := read_scores(root / out / SCORES)) is not None:
            return table, ""
        listing = (cache.listing(locked[out]) if cache and DIRECTORY.fullmatch(locked.get(out, "")) else None) or {}
        if cache and SCORES in listing and (table := read_scores(cache.path(listing[SCORES]))) is not None:
            return table, ""
    known = [out for out in outs if out in locked]
    if not known:
        return None, f"its dvc.lock does not know {' '.join(outs)}; build it there with `dvc repro {stage}`."
    return None, f"`dvc {'fetch --all-commits' if side.commit else 'pull'} {' '.join(known)}`, where a remote has them."


def side_of(root: Path, name: str) -> Side:
    commit = "" if name == WORKSPACE else _commit(root, name)

    def read(paths: list[str]) -> list[bytes]:
        return blobs(root, [f"{commit}:./{path}" for path in paths]) if commit else [_file(root / path) for path in paths]

    pipeline, params, lock = read(["dvc.yaml", "params.yaml", LOCK])
    stages = _section(_mapping(pipeline, f"dvc.yaml of `{name}`", parse_yaml))
    if not stages:
        raise UserError(f"`{name}` has no stages in dvc.yaml: name a revision of this build, from the root of its repository.")
    declared = expand_stages(stages, _mapping(params, f"params.yaml of `{name}`", parse_yaml))
    files = {path: (stage, _paths(one, "outs")) for stage, one in declared.items() for path in _reports(one)}
    metrics = {}
    for path, data in zip(files, read(list(files)), strict=True):
        if data:
            metrics[_short(path)] = dict(_numbers(_mapping(data, f"{path} of `{name}`", json.loads)))
    locked = {stage: _md5s(one) for stage, one in _section(_mapping(lock, f"{LOCK} of `{name}`", parse_yaml)).items()}
    return Side(name, commit, {_short(path): found for path, found in files.items()}, metrics, locked)


def _commit(root: Path, name: str) -> str:
    """The commit of a branch, a tag, an abbreviation, `HEAD~2` or an experiment's name."""
    if name and name.isprintable() and not name.startswith("-"):
        if found := COMMIT.fullmatch(git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").decode().strip()):
            return found[0]
        for line in git(root, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").decode("utf-8", "replace").splitlines():
            commit, _, ref = line.partition(" ")
            if (experiment := NAMED.fullmatch(ref)) and experiment[1] == name:
                return commit
    raise UserError(
        f"git knows no revision {name!r}: take a commit, a branch, a tag, an experiment (`dvc exp list`) or `{WORKSPACE}`, "
        "from the root of the repository."
    )


def _file(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() and path.stat().st_size <= LARGEST else b""


def _mapping(data: bytes, what: str, load: Callable[[bytes], Any]) -> dict[str, Any]:
    """A file of git's or the workspace's as a mapping; {} for none."""
    try:
        value = load(data) if data else {}
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{what} cannot be read: {' '.join(str(error).split())}. Compare a revision before or after that.") from error
    return value if isinstance(value, dict) else {}


def _section(file: Mapping[str, Any]) -> dict[str, Any]:
    """`stages` of a dvc.yaml or dvc.lock."""
    stages = file.get("stages")
    return {name: one for name, one in stages.items() if isinstance(one, dict)} if isinstance(stages, dict) else {}


def _paths(stage: Mapping[str, Any], key: str) -> list[str]:
    """The paths that a stage declares; some are the key of a mapping of options."""
    return [str(next(iter(entry)) if isinstance(entry, dict) else entry) for entry in stage.get(key) or []]


def _reports(stage: Mapping[str, Any]) -> list[str]:
    """The JSON files of numbers that a stage writes: its metrics, and what it puts into reports/, but for what only repeats these."""
    plots = [path for path in _paths(stage, "plots") if path.startswith(REPORTS)]
    paths = [path for path in [*plots, *_paths(stage, "metrics")] if not path.startswith(REPEATED)]
    return [path for path in paths if path.endswith(".json") and "\n" not in path]


def _md5s(locked: Mapping[str, Any]) -> dict[str, str]:
    entries = [entry for key in ("deps", "outs") for entry in locked.get(key) or [] if isinstance(entry, dict)]
    return {str(entry.get("path")): str(entry.get("md5")) for entry in entries}


def _short(path: str) -> str:
    return path.removeprefix(REPORTS).removesuffix(".json")


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, int | float]]:
    """(dotted name, number) of every finite number in parsed JSON; of a list of objects none, for a place in it is no name."""
    if isinstance(value, list) and any(isinstance(part, dict) for part in value):
        return
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield name, value
