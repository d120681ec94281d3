"""promote: make a build that passed its gate the incumbent, which the next revision is judged against.

    data/promoted/statistics.json     statistics that the next corpus is compared with
    data/promoted/weak_spots.json     slices on which the model is worst, which `pack` may weigh up
    data/promoted/sides/sides.parquet on which side of the split each document stood, for ever; tracked by DVC
    data/vocabulary/kept/             the vocabulary, which later builds use; tracked by DVC
    data/promoted/model/incumbent/    weights, tokenizer, ids of training and test documents; tracked by DVC
    privllm@v1.2.0                    the tag of the commit that built it, named as by GTO (https://dvc.org/doc/gto)

Builds nothing and checks nothing out, and leaves the commit of data/promoted to people.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.compute as pc

from privllm.core.base_model import DOCUMENTS, INCUMBENT, SCRATCH
from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.promoted import JUDGED, MANIFEST, MODEL, PROMOTED, SIDES_FILE, SIDES_FOLDER, TOKENIZER
from privllm.core.report import write_json
from privllm.core.tables import read_table, write_table
from privllm.core.work_paths import PROMOTION_FOLDER
from privllm.dedup.sides import merged, read_sides, sides_of
from privllm.manage.git_revisions import LOCK, blobs, git, git_text
from privllm.manage.revision_metrics import RevisionMetrics, read_revision
from privllm.manage.tracked_input import run, track
from privllm.manage.vocabulary import write_kept
from privllm.tasks.example_scores import FILE, TASKS
from privllm.tokens.mixture import weak_spots_of
from privllm.tokens.trained_documents import trained_documents

NAME = "privllm"
GATE = "reports/gate.json"
TAG = re.compile(rf"{NAME}@v(\d+)\.(\d+)\.(\d+)")
PARTS = ("major", "minor", "patch")
Version = tuple[int, int, int]


class Release(NamedTuple):
    """A promoted revision."""

    tag: str
    commit: str
    date: str  # of the tag, ISO 8601
    incumbent: bool  # whether data/promoted holds it now
    figures: dict[
        str, float
    ]  # clean bits per byte of each family on the test split, and what the gate measured of preferences

    def plain(self) -> dict[str, Any]:
        """Return the release as JSON values."""
        return self._asdict()


def versions(root: Path) -> dict[Version, str]:
    """Return {version: tag}, oldest first."""
    tags: dict[Version, str] = {}
    for tag in git_text(root, "tag", "--list", f"{NAME}@v*").split():
        match = TAG.fullmatch(tag)
        if match:
            tags[int(match[1]), int(match[2]), int(match[3])] = tag
    return dict(sorted(tags.items()))


def next_version(existing: list[Version], part: str) -> Version:
    """Return the newest version with `part` counted up and the numbers after it 0; the first is 1.0.0."""
    if not existing:
        return (1, 0, 0)
    major, minor, patch = max(existing)
    if part == "major":
        return (major + 1, 0, 0)
    if part == "minor":
        return (major, minor + 1, 0)
    return (major, minor, patch + 1)


def promote(root: Path, part: str, say: Callable[[str], None]) -> str:
    """Make HEAD's build the incumbent and return its tag.

    Raises UserError where the build cannot be promoted, before anything changes.
    """
    head, gate = _passed_build(root)
    version = next_version(list(versions(root)), part)
    tag = f"{NAME}@v{'.'.join(map(str, version))}"
    revision = read_revision(root, head)
    families = sorted(path.name for path in (root / "data/align").iterdir() if path.is_dir())
    partial = root / PROMOTION_FOLDER
    shutil.rmtree(partial, ignore_errors=True)
    _gather_files(root, partial, families)
    write_json(partial / MANIFEST, {"version": tag, "families": families, "figures": figures_of(revision)})
    shutil.copyfile(root / "data/validate/statistics.json", root / PROMOTED / "statistics.json")
    write_json(root / PROMOTED / "weak_spots.json", weak_spots_of(root / "reports"))
    incumbent = root / MODEL / INCUMBENT
    shutil.rmtree(incumbent, ignore_errors=True)
    shutil.move(partial, incumbent)
    records = merged(read_sides(root / SIDES_FOLDER), sides_of(root / "data/dedup"))
    write_table(records, root / SIDES_FOLDER / SIDES_FILE)
    for path in (MODEL / INCUMBENT, SIDES_FOLDER / SIDES_FILE):
        track(root, path)
    if json.loads((root / "reports/tokenizer.json").read_text("utf-8"))["start"] == SCRATCH:
        write_kept(root)
    run(root, "git", "add", "--", str(PROMOTED))
    judgement = "the first"
    if gate["incumbent"]:
        judgement = f"better than {gate['incumbent']} or as good by gate.rules"
    run(root, "git", "tag", "--annotate", tag, head, "--message", f"{tag}: {judgement}")
    say(f"{tag} is the incumbent now (commit {head[:9]}, {judgement}).")
    say(
        f"Its files are in {MODEL / INCUMBENT}, staged in git: `git commit -m 'Promote {tag}'` records them, "
        "`dvc push` and `git push --tags` share them."
    )
    return tag


def releases(root: Path) -> list[Release]:
    """Return every promoted revision, newest first."""
    manifest = root / MODEL / INCUMBENT / MANIFEST
    current = json.loads(manifest.read_text("utf-8"))["version"] if manifest.is_file() else ""
    result = []
    for tag in reversed(versions(root).values()):
        date = git(root, "for-each-ref", "--format=%(creatordate:short)", f"refs/tags/{tag}").decode().strip()
        revision = read_revision(root, tag)
        result.append(Release(tag, revision.commit, date, tag == current, figures_of(revision)))
    return result


def figures_of(revision: RevisionMetrics) -> dict[str, float]:
    """Return the few figures that a list of models shows."""
    figures = {}
    for file, metrics in revision.metrics.items():
        stage, _, family = file.partition("/")
        if stage == "evaluate" and family in TRAITS:
            clean_bits = TRAITS[family].clean_bits
            if f"test.{clean_bits}" in metrics:
                figures[f"{family}.{clean_bits}"] = float(metrics[f"test.{clean_bits}"])
        preferences = metrics.get("figures.causal.preferences.candidate")
        if file == "gate" and preferences is not None:
            figures["causal.preferences"] = float(preferences)
    return figures


def _passed_build(root: Path) -> tuple[str, dict[str, Any]]:
    """Return HEAD and its gate's report. Raises UserError unless HEAD is a complete build that passed."""
    head = git(root, "rev-parse", "--verify", "--quiet", "HEAD").decode().strip()
    if not head:
        raise UserError("git has no commit here: run this from the repository's root, after `dvc repro` and a commit.")
    for tag in git_text(root, "tag", "--points-at", head).split():
        if TAG.fullmatch(tag):
            advice = f"Promote another build, or undo this one with `git tag --delete {tag}`."
            raise UserError(f"this commit is promoted already, as {tag}. {advice}")
    changed = git_text(root, "status", "--porcelain", "--untracked-files=no").splitlines()
    if changed:
        names = ", ".join(line[3:] for line in changed[:5])
        raise UserError(f"tracked files have changed since the last commit ({names}): commit them first, then promote.")
    lock, report = blobs(root, [f"{head}:./{LOCK}", f"{head}:./{GATE}"])
    if not lock or not report:
        missing = GATE if lock else LOCK
        advice = "run `dvc repro`, commit dvc.lock and reports, then promote."
        raise UserError(f"the last commit has no {missing}: {advice}")
    gate = json.loads(report)
    if gate.get("passed") is not True:
        advice = "change data or parameters, run `dvc repro`, and promote a build that passes."
        raise UserError(f"{GATE} says that the gate was not passed: {advice}")
    status = json.loads(run(root, sys.executable, "-P", "-m", "dvc", "status", "--json") or "{}")
    if status:
        stages = ", ".join(sorted(status)[:5])
        raise UserError(f"the build is not up to date ({stages}): run `dvc repro`, commit, then promote.")
    return head, gate


def _gather_files(root: Path, out: Path, families: list[str]) -> None:
    """Copy the incumbent's files below `out`."""
    for family in families:
        shutil.copytree(root / "data/align" / family, out / family)
        scores = read_table(root / "data/evaluate" / family / "documents.parquet", ["id", "bytes", "split"])
        scores = scores.filter(pc.equal(scores["split"], "test")).select(["id", "bytes"])
        write_table(scores, out / JUDGED / f"{family}.parquet")
    write_table(trained_documents(root / "data/pack", root / "data/start"), out / DOCUMENTS)
    for path in sorted((root / "data/finetune").glob(f"*/{FILE}")):
        (out / TASKS).mkdir(exist_ok=True)
        shutil.copyfile(path, out / TASKS / f"{path.parent.name}.parquet")
    shutil.copytree(root / "data/tokenizer", out / TOKENIZER)
