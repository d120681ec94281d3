"""`privllm upgrade`: the template of the installed version, merged into a project that an earlier one made.

Three versions of each file meet: as `privllm init` wrote it (PRISTINE), as the project has it, and as the installed
version has it. What the project did not change is replaced; what both changed is merged by `git merge-file`, with git's
marks around what contradicts. For the plan, the merged files are put in place for as long as that takes, then the
project's own are back, byte for byte; UPGRADE_JOURNAL keeps these meanwhile, so that the next `privllm upgrade` brings
them back where one was killed.
"""

import base64
import json
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from packaging.version import Version

from privllm.core.errors import UserError
from privllm.core.seed import digest
from privllm.core.work_paths import UPGRADE_JOURNAL
from privllm.engine.digests import replacing
from privllm.engine.pipeline import require_root
from privllm.manage.durations import about
from privllm.manage.plan import last_report, make_plan
from privllm.manage.planned_stages import MAY_RUN, RUNS, Plan
from privllm.project.init import pristine_text
from privllm.project.template import PRISTINE, WHOLE, package_version, project_files

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

    before: str  # version that made the project, or upgraded it last
    after: str  # the installed one
    changes: list[Change]
    template: str  # content of PRISTINE afterwards
    is_needed: bool  # whether a file, or privllm's own code, is another than the project knows
    uncommitted: list[str]  # files that it would change and git does not have as they are

    @property
    def conflicts(self) -> list[Change]:
        return [change for change in self.changes if change.kind == CONFLICT]

    def lines(self) -> Iterator[str]:
        """Yield what it changes, for a terminal; of each conflict the lines that contradict."""
        if not self.changes:
            yield f"The files are those of privllm {self.after}; its code is another than this project was built with."
            return
        yield f"From privllm {self.before} to {self.after}:"
        for change in self.changes:
            yield f"  {change.kind:8}  {change.path}{change.note and f'   ({change.note})'}"
        for change in self.conflicts:
            yield from ("", f"{change.path}: both sides changed these lines:")
            yield from (f"    {line}" for line in _marked_lines(change.content or b""))
        if any(change.path == "requirements.lock" and change.kind == UPDATED for change in self.changes):
            yield from ("", f"The lock changes too; install it first: {INSTALL}")
        if self.uncommitted:
            yield from ("", f"Not committed, so git cannot bring them back: {', '.join(self.uncommitted)}")


def prepare_upgrade(root: Path = Path()) -> Upgrade:
    """Return what the installed version would change in the project at `root`; nothing is changed.

    Raises UserError in a folder that `privllm init` did not make.
    """
    require_root(root)
    if edited := restore(root):
        raise UserError(
            f"an upgrade was killed while it planned, and {', '.join(edited)} was edited since: it has privllm's changes and "
            "yours. Look at `git diff`; the next `privllm upgrade` goes on from there."
        )
    name, before_version, pristine = _read_pristine(root)
    _require_newer(before_version)
    after = project_files(name)
    changes = []
    for path in sorted({*pristine, *after}):
        current = (root / path).read_bytes() if (root / path).is_file() else None
        change = merge(path, pristine.get(path), current, after.get(path))
        if change and (root / path).is_symlink():
            change = Change(path, KEPT, current, "a link, which is not followed: change what it leads to by hand")
        if change:
            changes.append(change)
    template = pristine_text(name, after)
    is_needed = (root / PRISTINE).read_text("utf-8") != template
    uncommitted = _uncommitted(root, [change.path for change in changes if change.kind != KEPT])
    return Upgrade(before_version, package_version(), changes, template, is_needed, uncommitted)


def merge(path: str, pristine: str | None, current: bytes | None, after: bytes | None) -> Change | None:
    """Return what becomes of a file, None for nothing. `pristine` is its text, or of a WHOLE file its digest."""
    unchanged_by_us = after is not None and pristine == _pristine_of(path, after)
    unchanged_by_them = current is not None and pristine == _pristine_of(path, current)
    if current == after or unchanged_by_us:
        return None
    if pristine is not None and current is None:
        return Change(path, KEPT, None, "this project has removed it, and it stays so")
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
    ends = b"\r\n" if b"\r\n" in current else b"\n"
    unix_text = current.replace(b"\r\n", b"\n")
    merged, conflicts = _merge_texts(unix_text, (pristine or "").encode(), after)
    return Change(path, CONFLICT if conflicts else MERGED, merged.replace(b"\n", ends))


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
    changes.append(Change(str(PRISTINE), UPDATED, upgrade.template.encode()))
    with _in_place(changes, root):
        return make_plan()


def cost_lines(plan: Plan, columns: int = 140) -> Iterator[str]:
    """Yield what the plan rebuilds, in lines of at most `columns` characters: stages, documents and minutes."""
    steps = [step for step in plan.steps if step.verdict in (RUNS, MAY_RUN)]
    if not steps:
        yield "It rebuilds nothing."
        return
    shares = [step.share for step in steps if step.verdict == RUNS]
    documents = round(last_report("collect").get("documents", 0) * max(shares, default=0.0))
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


def apply(upgrade: Upgrade, root: Path = Path()) -> None:
    """Write the merged files, and remember the template of the installed version."""
    for change in upgrade.changes:
        if change.kind != KEPT:
            _put(root / change.path, change.content)
    _put(root / PRISTINE, upgrade.template.encode())


def restore(root: Path = Path()) -> list[str]:
    """Bring back the files that an upgrade had put aside when it was killed.

    Returns those that were edited since, which stay as they are.
    """
    journal = root / UPGRADE_JOURNAL
    if not journal.is_file():
        return []
    edited = []
    for path, (original, written) in json.loads(journal.read_text("utf-8")).items():
        original_bytes = None if original is None else base64.b64decode(original)
        present = _digest_of(root / path)
        if present == written:
            _put(root / path, original_bytes)
        elif present != (None if original_bytes is None else digest(original_bytes)):
            edited.append(path)
    journal.unlink()
    return edited


def _digest_of(path: Path) -> str | None:
    return digest(path.read_bytes()) if path.is_file() else None


@contextmanager
def _in_place(changes: Iterable[Change], root: Path) -> Iterator[None]:
    """Put the merged files in place, and the project's own back afterwards."""
    journal: dict[str, tuple[str | None, str | None]] = {}  # {path: (content before, digest of what is written)}
    written = [change for change in changes if change.kind != KEPT]
    for change in written:
        path = root / change.path
        original = base64.b64encode(path.read_bytes()).decode() if path.is_file() else None
        journal[change.path] = (original, None if change.content is None else digest(change.content))
    with replacing(root / UPGRADE_JOURNAL) as partial:
        partial.write_text(json.dumps(journal), "utf-8")
    hang_up = signal.signal(signal.SIGHUP, _interrupted)  # a terminal that is closed
    try:
        for change in written:
            _put(root / change.path, change.content)
        yield
    finally:
        signal.signal(signal.SIGHUP, hang_up)
        restore(root)


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


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
        name, before_version, files = str(record["name"]), str(record["version"]), dict(record["files"])
        Version(before_version)
        for path, text in files.items():
            if not isinstance(text, str) or not _is_inside(path):
                raise ValueError(f"it names {path}")
        return name, before_version, files
    except FileNotFoundError:
        raise UserError(
            f"there is no {PRISTINE} here, so `privllm init` did not make this project, and there is nothing to compare with. "
            "Start one with `privllm init DIR`, and copy data and params.yaml there."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{PRISTINE} is damaged ({reason}): `git checkout {PRISTINE}` brings it back.") from None


def _is_inside(path: str) -> bool:
    """Return whether a path of PRISTINE lies in the project."""
    return not Path(path).is_absolute() and ".." not in Path(path).parts


def _require_newer(before_version: str) -> None:
    """Raise UserError where the installed privllm is older than the one that made the project."""
    installed = package_version()
    if Version(installed) < Version(before_version):
        raise UserError(
            f"this project is of privllm {before_version}, and {installed} is installed, which is older: "
            f"`pip install 'privllm>={before_version}'`."
        )


def _uncommitted(root: Path, paths: list[str]) -> list[str]:
    """Return those of the files that git has not as they are; none where there is no git."""
    if not paths or not (root / ".git").exists():
        return []
    command = ["git", "-C", str(root), "status", "--porcelain", "-z", "--no-renames", "--", *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [entry[3:] for entry in done.stdout.split("\0") if entry and not entry.startswith("??")]
