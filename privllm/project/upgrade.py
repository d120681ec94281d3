"""`privllm upgrade`: the template of the installed version, merged into a project that an earlier one made.

Three versions of each file meet: as `privllm init` wrote it (PRISTINE), as the project has it, and as the installed
version has it. What the project did not change is replaced; what both changed is merged by `git merge-file`, with git's
marks around what contradicts. For the plan, the merged files are put in place for as long as that takes, then the
project's own are back, byte for byte; UPGRADE_JOURNAL keeps these meanwhile, so that the next `privllm upgrade` brings
them back where one was killed.
"""

import base64
import json
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from privllm.core.errors import UserError
from privllm.core.seed import digest
from privllm.core.work_paths import UPGRADE_JOURNAL
from privllm.engine.digests import replacing
from privllm.engine.pipeline import require_root
from privllm.manage.durations import about
from privllm.manage.plan import make_plan
from privllm.manage.planned_stages import MAY_RUN, RUNS, Plan
from privllm.project.init import pristine_text
from privllm.project.template import PRISTINE, WHOLE, project_files, version

UPDATED, MERGED, CONFLICT, ADDED, REMOVED, KEPT = "updated", "merged", "conflict", "added", "removed", "kept"
FEW_MARKED_LINES = 12  # of a conflict, on a terminal
INSTALL = "pip install --no-deps --require-hashes -r requirements.lock"


class Change(NamedTuple):
    """What an upgrade does with one file."""

    path: str
    kind: str  # UPDATED, MERGED, CONFLICT, ADDED, REMOVED, or KEPT where the project took its own way
    content: bytes | None  # afterwards; None: no file
    note: str = ""


class Upgrade(NamedTuple):
    """An upgrade that can be applied."""

    name: str  # of the project
    before: str  # version that made the project, or upgraded it last
    after: str  # the installed one
    changes: list[Change]

    @property
    def conflicts(self) -> list[Change]:
        return [change for change in self.changes if change.kind == CONFLICT]

    def lines(self) -> Iterator[str]:
        """Yield what it changes, for a terminal; of each conflict the lines that contradict."""
        yield (
            f"From privllm {self.before} to {self.after}:"
            if self.changes
            else f"The files are those of privllm {self.after}."
        )
        for change in self.changes:
            yield f"  {change.kind:8}  {change.path}{change.note and f'   ({change.note})'}"
        for change in self.conflicts:
            yield from ("", f"{change.path}: both sides changed these lines:")
            yield from (f"    {line}" for line in _marked_lines(change.content or b""))
        if any(change.path == "requirements.lock" and change.kind == UPDATED for change in self.changes):
            yield from ("", f"The lock changes too; install it first: {INSTALL}")


def prepare_upgrade(root: Path = Path()) -> Upgrade:
    """Return what the installed version would change in the project at `root`; nothing is changed.

    Raises UserError in a folder that `privllm init` did not make.
    """
    require_root(root)
    restore(root)
    name, before_version, pristine = _read_pristine(root)
    after = project_files(name)
    changes = []
    for path in sorted({*pristine, *after}):
        current = (root / path).read_bytes() if (root / path).is_file() else None
        change = merge(path, pristine.get(path), current, after.get(path))
        if change:
            changes.append(change)
    return Upgrade(name, before_version, version("privllm"), changes)


def merge(path: str, pristine: str | None, current: bytes | None, after: bytes | None) -> Change | None:
    """Return what becomes of a file, None for nothing. `pristine` is its text, or of a WHOLE file its digest."""
    unchanged_by_us = after is not None and pristine == _pristine_of(path, after)
    unchanged_by_them = current is not None and pristine == _pristine_of(path, current)
    if current == after or unchanged_by_us:
        return None
    if pristine is not None and current is None:
        return Change(path, KEPT, None, "this project removed it")
    if after is None:
        assert current is not None
        if unchanged_by_them:
            return Change(path, REMOVED, None)
        return Change(path, KEPT, current, "privllm has it no longer, and this project changed it")
    if current is None:
        return Change(path, ADDED, after)
    if unchanged_by_them:
        return Change(path, UPDATED, after)
    if path in WHOLE:
        return Change(path, KEPT, current, "this project changed it, and it cannot be merged: take privllm's by hand")
    merged, conflicts = _merge_texts(current, (pristine or "").encode(), after)
    return Change(path, CONFLICT if conflicts else MERGED, merged)


def _pristine_of(path: str, content: bytes) -> str:
    return digest(content) if path in WHOLE else content.decode(errors="surrogateescape")


def _merge_texts(current: bytes, pristine: bytes, after: bytes) -> tuple[bytes, int]:
    """Return the merged text and the number of conflicts, by `git merge-file`."""
    with tempfile.TemporaryDirectory(prefix="privllm-") as folder:
        paths = []
        for name, content in (("this project", current), ("privllm before", pristine), ("privllm now", after)):
            paths.append(Path(folder, name))
            paths[-1].write_bytes(content)
        labels = [word for path in paths for word in ("-L", path.name)]
        command = ["git", "merge-file", "-p", *labels, *map(str, paths)]
        done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode > 127:  # fewer are conflicts
        raise UserError(f"`git merge-file` failed: {done.stderr.decode(errors='replace').strip()}.")
    return done.stdout, done.returncode


def _marked_lines(content: bytes) -> list[str]:
    """Return the lines of the first conflict with git's marks, shortened."""
    lines = content.decode(errors="replace").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("<<<<<<< "))
    last = next(i for i, line in enumerate(lines) if i > first and line.startswith(">>>>>>> "))
    marked = lines[first : last + 1]
    if len(marked) > FEW_MARKED_LINES:
        return [*marked[: FEW_MARKED_LINES - 1], f"... {len(marked) - FEW_MARKED_LINES + 1} more lines"]
    return marked


def plan_of(upgrade: Upgrade, root: Path = Path()) -> Plan:
    """Return what `dvc repro` would do after the upgrade; the project's files are as before when it returns.

    Files with conflicts stand in it as the project has them.
    """
    changes = [change for change in upgrade.changes if change.kind != CONFLICT]
    changes.append(Change(str(PRISTINE), UPDATED, _new_pristine(upgrade).encode()))
    with _in_place(changes, root):
        return make_plan()


def cost_lines(plan: Plan, columns: int = 140) -> Iterator[str]:
    """Yield what the plan rebuilds, in lines of at most `columns` characters: stages, documents and minutes."""
    steps = [step for step in plan.steps if step.verdict in (RUNS, MAY_RUN)]
    if not steps:
        yield "It rebuilds nothing."
        return
    shares = [step.share for step in steps if step.verdict == RUNS]
    documents = round(_documents() * max(shares, default=0.0))
    seconds = plan.seconds(RUNS, MAY_RUN)
    unknown = f"; no record says how long {', '.join(plan.untimed)} would take" if plan.untimed else ""
    yield (
        f"`dvc repro` would then run {len(steps)} of {len(plan.steps)} stages, over about {documents:,} documents, "
        f"in {about(seconds)} at most{unknown}."
    )
    for step in steps:
        cause = step.causes[0].says if step.causes else ""
        line = f"  {step.stage:20}  {step.verdict:8}  {cause}"
        yield line if len(line) <= columns else f"{line[: columns - 3]}..."


def _documents() -> int:
    """Return the documents of the last build, 0 where there was none."""
    try:
        return int(json.loads(Path("reports/collect.json").read_text("utf-8"))["documents"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def apply(upgrade: Upgrade, root: Path = Path()) -> None:
    """Write the merged files, and remember the template of the installed version."""
    for change in upgrade.changes:
        if change.kind != KEPT:
            _put(root / change.path, change.content)
    _put(root / PRISTINE, _new_pristine(upgrade).encode())


def _new_pristine(upgrade: Upgrade) -> str:
    return pristine_text(upgrade.name, project_files(upgrade.name))


def restore(root: Path = Path()) -> bool:
    """Bring back the files that an upgrade had put aside when it was killed; returns whether there were any."""
    journal = root / UPGRADE_JOURNAL
    if not journal.is_file():
        return False
    for path, content in json.loads(journal.read_text("utf-8")).items():
        _put(root / path, None if content is None else base64.b64decode(content))
    journal.unlink()
    return True


@contextmanager
def _in_place(changes: Iterable[Change], root: Path) -> Iterator[None]:
    """Put the merged files in place, and the project's own back afterwards."""
    originals: dict[str, str | None] = {}
    written = [change for change in changes if change.kind != KEPT]
    for change in written:
        path = root / change.path
        originals[change.path] = base64.b64encode(path.read_bytes()).decode() if path.is_file() else None
    with replacing(root / UPGRADE_JOURNAL) as partial:
        partial.write_text(json.dumps(originals), "utf-8")
    try:
        for change in written:
            _put(root / change.path, change.content)
        yield
    finally:
        restore(root)


def _put(path: Path, content: bytes | None) -> None:
    """Write a file, or with None remove it."""
    if content is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_bytes(content)


def _read_pristine(root: Path) -> tuple[str, str, Mapping[str, str]]:
    """Return the project's name, the version and the files of PRISTINE. Raises UserError where it is missing or damaged."""
    try:
        record: dict[str, Any] = json.loads((root / PRISTINE).read_text("utf-8"))
        return str(record["name"]), str(record["version"]), dict(record["files"])
    except FileNotFoundError:
        raise UserError(
            f"there is no {PRISTINE} here, so `privllm init` did not make this project, and there is nothing to compare with. "
            "Start one with `privllm init DIR`, and copy data and params.yaml there."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{PRISTINE} is damaged ({error}): `git checkout {PRISTINE}` brings it back.") from None
