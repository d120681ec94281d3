"""promote: a build that passed its gate becomes the incumbent, which the next revision is judged by and may start from.

    data/promoted/statistics.json     what the next corpus is compared with
    data/promoted/weak_spots.json     what the model is worst at, which `pack` may weigh up
    data/promoted/model/incumbent/    weights, tokenizer, which documents it was trained and judged on; DVC's
    privllm@v1.2.0                    the tag of the commit that built it, as GTO names versions (https://dvc.org/doc/gto)

It builds nothing and checks nothing out, and leaves the commit of data/promoted to people.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from privllm.core.base_model import DOCUMENTS, INCUMBENT
from privllm.core.errors import UserError
from privllm.core.promoted import JUDGED, MANIFEST, MODEL, PROMOTED, TOKENIZER
from privllm.core.report import write_json
from privllm.core.tables import read_table, write_table
from privllm.core.work_paths import PROMOTION_FOLDER
from privllm.manage.compare import Side, side_of
from privllm.manage.history import LOCK, blobs, git
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
    figures: dict[str, float]  # bits_per_byte of each family, and what the gate measured of preferences

    def plain(self) -> dict[str, Any]:
        return self._asdict()


def versions(root: Path) -> dict[Version, str]:
    """{version: tag}, oldest first."""
    tags = git(root, "tag", "--list", f"{NAME}@v*").decode("utf-8", "replace").split()
    found = {(int(m[1]), int(m[2]), int(m[3])): m[0] for tag in tags if (m := TAG.fullmatch(tag))}
    return dict(sorted(found.items()))


def next_version(known: list[Version], part: str) -> Version:
    """The newest version with `part` counted up and what is behind it 0; the first is 1.0.0."""
    if not known:
        return (1, 0, 0)
    major, minor, patch = max(known)
    return {"major": (major + 1, 0, 0), "minor": (major, minor + 1, 0), "patch": (major, minor, patch + 1)}[part]


def promote(root: Path, part: str, say: Callable[[str], None]) -> str:
    """Make HEAD's build the incumbent; returns its tag. Raises UserError that says what is in the way."""
    head, gate = _ready(root)
    known = versions(root)
    version = ".".join(map(str, next_version(list(known), part)))
    tag = f"{NAME}@v{version}"
    side = side_of(root, head)
    families = sorted(path.name for path in (root / "data/align").iterdir() if path.is_dir())
    partial = root / PROMOTION_FOLDER
    shutil.rmtree(partial, ignore_errors=True)
    _gather(root, partial, families)
    write_json(partial / MANIFEST, {"version": tag, "families": families, "figures": figures_of(side)})
    shutil.copyfile(root / "data/validate/statistics.json", root / PROMOTED / "statistics.json")
    write_json(root / PROMOTED / "weak_spots.json", weak_spots_of(root / "reports"))
    incumbent = root / MODEL / INCUMBENT
    shutil.rmtree(incumbent, ignore_errors=True)
    shutil.move(partial, incumbent)
    _run(root, sys.executable, "-P", "-m", "dvc", "add", "--quiet", str(MODEL / INCUMBENT))
    _run(root, "git", "add", "--", str(PROMOTED))
    against = f"better than {gate['incumbent']} or as good by gate.rules" if gate["incumbent"] else "the first"
    _run(root, "git", "tag", "--annotate", tag, head, "--message", f"{tag}: {against}")
    say(f"{tag} is the incumbent now (commit {head[:9]}, {against}).")
    say(f"It lies in {MODEL / INCUMBENT}, staged in git: `git commit -m 'Promote {tag}'` keeps it, `dvc push` and `git push --tags` share.")
    return tag


def releases(root: Path) -> list[Release]:
    """Every promoted revision, newest first."""
    manifest = root / MODEL / INCUMBENT / MANIFEST
    current = json.loads(manifest.read_text("utf-8"))["version"] if manifest.is_file() else ""
    found = []
    for tag in reversed(versions(root).values()):
        date = git(root, "for-each-ref", "--format=%(creatordate:short)", f"refs/tags/{tag}").decode().strip()
        side = side_of(root, tag)
        found.append(Release(tag, side.commit, date, tag == current, figures_of(side)))
    return found


def figures_of(side: Side) -> dict[str, float]:
    """The few figures that a list of models shows."""
    found = {}
    for file, metrics in side.metrics.items():
        stage, _, family = file.partition("/")
        if stage == "evaluate" and "bits_per_byte" in metrics:
            found[f"{family}.bits_per_byte"] = float(metrics["bits_per_byte"])
        if file == "gate" and (preferences := metrics.get("figures.causal.preferences.candidate")) is not None:
            found["causal.preferences"] = float(preferences)
    return found


def _ready(root: Path) -> tuple[str, dict[str, Any]]:
    """(HEAD, the gate's report), if HEAD is a whole build that passed."""
    head = git(root, "rev-parse", "--verify", "--quiet", "HEAD").decode().strip()
    if not head:
        raise UserError("git has no commit here: run this from the root of the repository, after `dvc repro` and a commit.")
    for tag in git(root, "tag", "--points-at", head).decode("utf-8", "replace").split():
        if TAG.fullmatch(tag):
            raise UserError(f"this commit is promoted already, as {tag}. Build another one, or take it back with `git tag --delete {tag}`.")
    if changed := git(root, "status", "--porcelain", "--untracked-files=no").decode("utf-8", "replace").splitlines():
        names = ", ".join(line[3:] for line in changed[:5])
        raise UserError(f"what git knows has changed since the last commit ({names}): a tag names a commit, so commit first, then promote.")
    lock, report = blobs(root, [f"{head}:./{LOCK}", f"{head}:./{GATE}"])
    if not lock or not report:
        raise UserError(f"the last commit has no {GATE if lock else LOCK}: run `dvc repro`, commit dvc.lock and reports, then promote.")
    gate = json.loads(report)
    if gate.get("passed") is not True:
        raise UserError(f"{GATE} says that the gate was not passed: change data or parameters, run `dvc repro`, and promote what passes.")
    status = json.loads(_run(root, sys.executable, "-P", "-m", "dvc", "status", "--json") or "{}")
    if status:
        raise UserError(f"the build is not up to date ({', '.join(sorted(status)[:5])}): run `dvc repro`, commit, then promote.")
    return head, gate


def _gather(root: Path, out: Path, families: list[str]) -> None:
    """The incumbent's files, below `out`."""
    for family in families:
        shutil.copytree(root / "data/align" / family, out / family)
        scores = read_table(root / "data/evaluate" / family / "documents.parquet", ["id", "bytes"])
        write_table(scores, out / JUDGED / f"{family}.parquet")
    write_table(trained_documents(root / "data/pack", root / "data/start"), out / DOCUMENTS)
    for scores in sorted((root / "data/finetune").glob(f"*/{FILE}")):
        (out / TASKS).mkdir(exist_ok=True)
        shutil.copyfile(scores, out / TASKS / f"{scores.parent.name}.parquet")
    (out / TOKENIZER).mkdir(parents=True)
    shutil.copyfile(root / "data/tokenizer/tokenizer.json", out / TOKENIZER / "tokenizer.json")


def _run(root: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"`{' '.join(command)}` failed: {' '.join(done.stderr.split()) or done.stdout.strip()}")
    return done.stdout
