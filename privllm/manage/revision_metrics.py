"""Metrics of one revision, read from git or from the workspace without checking anything out.

A revision is a commit, a branch, a tag, an experiment or `workspace`. Its dvc.yaml declares which reports
there are, and its dvc.lock what every stage read and made.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from privllm.core.errors import UserError
from privllm.core.plain_yaml import parse_yaml
from privllm.engine.pipeline import expand_stages
from privllm.manage.git_revisions import LARGEST, LOCK, NAMED, blobs, git, git_text

WORKSPACE = "workspace"
REPORTS = "reports/"
REPEATED = "reports/metrics/"  # a few figures of the reports, for `dvc exp show`
COMMIT = re.compile(r"[0-9a-f]{40,64}")
TOKENIZER = "data/tokenizer"


@dataclass(frozen=True)
class RevisionMetrics:
    """Every number in the reports of one revision, and the hashes of its stages' inputs and outputs."""

    name: str  # as it was typed
    commit: str  # "" for the workspace
    stages: dict[str, tuple[str, list[str]]]  # {report: its stage, and the stage's outputs}, for each declared report
    metrics: dict[str, dict[str, int | float]]  # {report: {dotted name: number}}, for each report that exists
    locked: dict[str, dict[str, str]]  # {stage: {path: MD5 of what it read and made}}

    def __str__(self) -> str:
        short_commit = self.commit[:9]
        if not short_commit or self.name.startswith(short_commit):
            return self.name
        return f"{self.name} ({short_commit})"

    def vocabulary(self, file: str) -> str:
        """Return the MD5 of the tokenizer that the stage of a report used; "" where that is unknown."""
        stage, _ = self.stages.get(file, ("", []))
        return self.locked.get(stage, {}).get(TOKENIZER, "")


def read_revision(root: Path, name: str) -> RevisionMetrics:
    """Read the metrics of a revision, or of the workspace.

    Raises UserError where git does not know it, or it has no stages.
    """
    commit = "" if name == WORKSPACE else _resolve(root, name)

    def read(paths: list[str]) -> list[bytes]:
        if commit:
            return blobs(root, [f"{commit}:./{path}" for path in paths])
        return [_read_file(root / path) for path in paths]

    pipeline, params, lock = read(["dvc.yaml", "params.yaml", LOCK])
    stages = _stages_in(_mapping(pipeline, f"dvc.yaml of `{name}`", parse_yaml))
    if not stages:
        advice = "name a revision of this build, from the root of its repository."
        raise UserError(f"`{name}` has no stages in dvc.yaml: {advice}")
    reports: dict[str, tuple[str, list[str]]] = {}
    for stage, declared in expand_stages(stages, _mapping(params, f"params.yaml of `{name}`", parse_yaml)).items():
        for path in _reports(declared):
            reports[path] = (stage, _paths(declared, "outs"))
    metrics = {}
    for path, data in zip(reports, read(list(reports)), strict=True):
        if data:
            metrics[_report_name(path)] = dict(_numbers(_mapping(data, f"{path} of `{name}`", json.loads)))
    locked_stages = _stages_in(_mapping(lock, f"{LOCK} of `{name}`", parse_yaml))
    locked = {stage: _locked_md5s(entry) for stage, entry in locked_stages.items()}
    return RevisionMetrics(
        name,
        commit,
        {_report_name(path): stage_outs for path, stage_outs in reports.items()},
        metrics,
        locked,
    )


def _resolve(root: Path, name: str) -> str:
    """Return the commit of a branch, a tag, an abbreviation, `HEAD~2` or an experiment's name."""
    if name and name.isprintable() and not name.startswith("-"):
        output = git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").decode().strip()
        if COMMIT.fullmatch(output):
            return output
        refs = git_text(root, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps")
        for line in refs.splitlines():
            commit, _, ref = line.partition(" ")
            experiment = NAMED.fullmatch(ref)
            if experiment and experiment[1] == name:
                return commit
    if git(root, "rev-parse", "--git-dir") and not git(root, "rev-parse", "--verify", "--quiet", "HEAD"):
        raise UserError(
            "there is no commit here yet to compare with: `git commit` the build, change something, compare."
        )
    raise UserError(
        f"git knows no revision {name!r}: use a commit, a branch, a tag, an experiment (`dvc exp list`) or "
        f"`{WORKSPACE}`, from the root of the repository."
    )


def _read_file(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() and path.stat().st_size <= LARGEST else b""


def _mapping(data: bytes, file: str, load: Callable[[bytes], Any]) -> dict[str, Any]:
    """Parse a file as a mapping; {} for no file, or another value."""
    try:
        value = load(data) if data else {}
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file} cannot be read: {reason}. Compare a revision before or after that.") from error
    return value if isinstance(value, dict) else {}


def _stages_in(file: Mapping[str, Any]) -> dict[str, Any]:
    """Return `stages` of a dvc.yaml or dvc.lock."""
    stages = file.get("stages")
    if not isinstance(stages, dict):
        return {}
    return {name: stage for name, stage in stages.items() if isinstance(stage, dict)}


def _paths(stage: Mapping[str, Any], key: str) -> list[str]:
    """Return the paths that a stage declares; some are the key of a mapping of options."""
    paths = []
    for entry in stage.get(key) or []:
        path = next(iter(entry)) if isinstance(entry, dict) else entry
        paths.append(str(path))
    return paths


def _reports(stage: Mapping[str, Any]) -> list[str]:
    """Return the JSON files of numbers that a stage writes: its metrics, and its plots in reports/.

    Files that only repeat figures of these are left out.
    """
    plots = [path for path in _paths(stage, "plots") if path.startswith(REPORTS)]
    paths = [path for path in [*plots, *_paths(stage, "metrics")] if not path.startswith(REPEATED)]
    return [path for path in paths if path.endswith(".json") and "\n" not in path]


def _locked_md5s(locked: Mapping[str, Any]) -> dict[str, str]:
    """Return {path: MD5} of the inputs and outputs of a stage in dvc.lock."""
    md5s = {}
    for key in ("deps", "outs"):
        for entry in locked.get(key) or []:
            if isinstance(entry, dict):
                md5s[str(entry.get("path"))] = str(entry.get("md5"))
    return md5s


def _report_name(path: str) -> str:
    return path.removeprefix(REPORTS).removesuffix(".json")


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, int | float]]:
    """Yield (dotted name, number) of every finite number in parsed JSON.

    A list that holds objects is left out, because a position in it is no name.
    """
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list) and not any(isinstance(child, dict) for child in value):
        children = list(enumerate(value))
    else:
        children = []
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield name, value
    for key, child in children:
        yield from _numbers(child, f"{name}.{key}" if name else str(key))
