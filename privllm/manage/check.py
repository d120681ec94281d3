"""check: what DVC cannot take, or cannot see, and the command that mends it.

DVC knows a file by its size, time and inode, hashes what a stage depends on after the stage has ended, and takes the working copy of
the sources for the newest. So an edit can hide, and a colleague's can be undone. `collect` has written down what it read: the names
that it read them under and their statuses (`.privllm/sources.arrow`), and the content as a whole (`engine.source_guard`).
It asks DVC nothing, so it ends where DVC would wait for ever.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import NamedTuple

import pyarrow as pa
import yaml

from privllm.collect.documents import path_of
from privllm.collect.dvc_content import content_of, paths_of, tracked_files, with_digests
from privllm.collect.dvcignore import FILE as DVCIGNORE
from privllm.collect.dvcignore import DvcIgnore
from privllm.collect.file_index import load, touched_unseen
from privllm.core.errors import UserError
from privllm.core.plain_yaml import parse_yaml
from privllm.core.printable import printable
from privllm.core.work_paths import SOURCES_INDEX
from privllm.engine.cache import Cache, find_cache
from privllm.engine.digests import md5_of
from privllm.engine.fingerprint import FOLDER, LOCK_FILE, foretell_fingerprints
from privllm.engine.params_guard import explain_other_parameters, force_command, stages_with_other_parameters
from privllm.engine.pipeline import declared_stages, outputs_of
from privllm.engine.source_guard import COMMAND, LOCK, SAVED_TOO_LATE, SOURCES, content_named_in, saved_too_late
from privllm.manage.history import blobs, git

CODE = ("privllm", "stages")
FORCE_FINGERPRINT = "dvc repro --force fingerprint"
NAMED = 10  # files that are named on the terminal
OLDER_VERSIONS = 50  # of data/sources.dvc in git that are looked at
Problems = list["Problem"]


class Problem(NamedTuple):
    """What stands in the way of a right build."""

    says: str
    names: list[str]  # of the files concerned
    command: str  # that mends it, for a person
    mend: Callable[[], None] | None = None  # the same, where it can lose nothing
    blocks_dvc: bool = False  # would DVC end in an error, or never

    def lines(self) -> list[str]:
        more = [f"  ... and {len(self.names) - NAMED:,} more"] if len(self.names) > NAMED else []
        return [self.says, *(f"  {name}" for name in self.names[:NAMED]), *more, f"  -> {self.command}"]


def find_problems(root: Path = Path()) -> Problems:
    """Return what DVC would not say of the repository at `root`, what blocks it first."""
    unusable = unusable_inputs(root)
    if unusable:
        return unusable
    sources = root / SOURCES
    problems = code_saved_too_late(root)
    if sources.is_dir():
        files = tracked_files(sources)
        problems += unseen_edits(root, touched_unseen(root / SOURCES_INDEX, files))
        problems += not_checked_out(root, with_digests(sources, files, root / SOURCES_INDEX))
    if saved_too_late(root):
        problems.append(Problem(f"{SAVED_TOO_LATE.partition('. ')[0]}.", [], COMMAND, lambda: _dvc(COMMAND)))
    if stages := stages_with_other_parameters(root):
        command = force_command(stages)
        problems.append(Problem(f"{explain_other_parameters(stages)}.", [], command, lambda: _dvc(command)))
    return problems


def mend(problems: Problems) -> Problems:
    """Do what can be done without losing anything; return what is left for a person."""
    for problem in problems:
        if problem.mend:
            problem.mend()
    return [problem for problem in problems if not problem.mend]


def unusable_inputs(root: Path) -> Problems:
    """Files in the folders that the build begins with which DVC fails at, or waits for without end."""
    names: dict[tuple[str, str], list[str]] = {}
    for folder in input_folders(root):
        for path in _below(root / folder):
            if reason := _why_unusable(path):
                names.setdefault(reason, []).append(str(path.relative_to(root)))
    return [
        Problem(f"DVC cannot take {what}:", [printable(name) for name in sorted(paths)], f"{verb} {_quoted(paths)}", blocks_dvc=True)
        for (what, verb), paths in sorted(names.items())
    ]


def input_folders(root: Path) -> list[str]:
    """The folders that stages depend on and no stage makes."""
    stages = declared_stages(root)
    made = {path for declared in stages.values() for path in outputs_of(declared)}
    needed = {path for declared in stages.values() for path in declared.get("deps", [])}
    inputs = [path for path in needed if not any(path == out or path.startswith(f"{out}/") for out in made)]
    return sorted(path for path in inputs if (root / path).is_dir())


def _below(folder: Path) -> Iterator[Path]:
    """Every file, link and special file that DVC would come across."""
    rules, start = DvcIgnore(folder), len(str(folder)) + 1
    waiting = [str(folder)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                is_folder = entry.is_dir(follow_symlinks=False)
                if rules.ignores(entry.path[start:], is_folder):
                    continue
                if is_folder:
                    waiting.append(entry.path)
                yield Path(entry.path)


def _why_unusable(path: Path) -> tuple[str, str] | None:
    """What keeps DVC from hashing a path, and the command that mends it; None where nothing does."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "a name that is not UTF-8", "mv -t ELSEWHERE"
    if path.name == DVCIGNORE:
        return f"a {DVCIGNORE} inside a folder that it tracks (it belongs above)", "mv -t data"
    try:
        status = path.lstat()
        if S_ISLNK(status.st_mode):
            status = path.stat()
    except OSError:
        return "a link that leads nowhere", "rm"
    if S_ISREG(status.st_mode):
        return None if os.access(path, os.R_OK) else ("a file that may not be read", "chmod u+r")
    return None if S_ISDIR(status.st_mode) else ("a pipe, a socket or a device, for which it would wait without end", "rm")


def _quoted(names: list[str]) -> str:
    """Names as a shell takes them."""
    quoted = [shlex.quote(name) if name.isprintable() else f"$'{_escaped(name)}'" for name in sorted(names)[:NAMED]]
    return f"{' '.join(quoted)}{' ...' if len(names) > NAMED else ''}"


def _escaped(name: str) -> str:
    """A name between $' and ' for a shell: bytes that are no printable ASCII as octal numbers."""
    data = os.fsencode(name)
    return "".join(chr(byte) if 32 <= byte < 127 and chr(byte) not in "'\\" else f"\\{byte:03o}" for byte in data)


def unseen_edits(root: Path, files: pa.Table) -> Problems:
    """Files of the sources with other content than `collect` read, which look unchanged to DVC."""
    changed: list[Path] = []
    for source, digest in zip(files["source"].to_pylist(), files["md5"].to_pylist(), strict=True):
        path = path_of(source, root / SOURCES)
        with suppress(OSError):
            if md5_of(path) != digest:
                changed.append(path)
    if not changed:
        return []
    says = f"{len(changed):,} files in {SOURCES} were changed with equal size and time, which DVC takes for unchanged:"
    names = [printable(str(path.relative_to(root))) for path in changed]
    return [Problem(says, names, "privllm check --fix   (touches them)", lambda: _touch(changed))]


def _touch(paths: list[Path]) -> None:
    for path in paths:
        path.touch()


def not_checked_out(root: Path, files: pa.Table) -> Problems:
    """Were other sources pulled or merged, and not checked out, so that `dvc repro` would take the old ones for the newest?

    `files` (KNOWN) are those that lie here. An edit of one's own also makes them differ from what git names. But a file that was
    merged and not checked out is here as `collect` has read it, while data/sources.dvc names another than it did then. After a build
    has undone a merge, what lies here is what an earlier commit names.
    """
    note, cache = f"{SOURCES}.dvc", find_cache(root)
    named, committed, working = content_named_in(root / note), content_named_in(blobs(root, [f"HEAD:./{note}"])[0]), content_of(files)
    index = load(root / SOURCES_INDEX)
    named_then = (index.schema.metadata or {}).get(b"named", b"").decode()
    if named and named_then and named not in (named_then, working):
        names = _left_behind(cache, named, index, files)
        command = f"dvc {'pull' if names is None else 'checkout'} {note}"
        if working != content_of(index):
            command += "   (put your own edits aside before: it asks whether to overwrite them)"
    elif committed and committed != working and working in older_versions(root, note):
        names = _differing(cache, committed, working)
        command = f"git checkout HEAD -- {note} && dvc {'pull' if names is None else 'checkout'} {note}"
    else:
        return []
    if names == []:
        return []
    says = f"git names other documents than lie in {SOURCES}; `dvc repro` would undo what a merge, pull or checkout brought:"
    return [Problem(says, [printable(f"{SOURCES}/{name}") for name in names or []], command)]


def _left_behind(cache: Cache | None, named: str, index: pa.Table, files: pa.Table) -> list[str] | None:
    """Names of files that are here as `collect` read them, where `named` has another version; None where the cache lacks `named`."""
    wanted = cache.listing(named) if cache else None
    if wanted is None:
        return None
    before, here = (dict(zip(paths_of(table), table["md5"].to_pylist(), strict=True)) for table in (index, files))
    return sorted(name for name in wanted.keys() | before.keys() if here.get(name) == before.get(name) != wanted.get(name))


def older_versions(root: Path, note: str) -> set[str]:
    """The contents that earlier commits name in the file `note`."""
    commits = git(root, "log", f"--max-count={OLDER_VERSIONS}", "--skip=1", "--format=%H", "HEAD", "--", note).decode().split()
    return {content_named_in(blob) for blob in blobs(root, [f"{commit}:./{note}" for commit in commits])} - {""}


def _differing(cache: Cache | None, wanted: str, here: str) -> list[str] | None:
    """Names of the files in which two contents differ; None where the cache cannot tell."""
    listings = [cache.listing(content) if cache else None for content in (wanted, here)]
    if listings[0] is None or listings[1] is None:
        return None
    return sorted({name for name, _ in listings[0].items() ^ listings[1].items()})


def code_saved_too_late(root: Path) -> Problems:
    """Was code saved after `fingerprint` had read it and before DVC looked at it?"""
    recorded = {path.stem: path.read_bytes() for path in (root / FOLDER).glob("*.json")}
    if not recorded:
        return []
    try:
        foretold = foretell_fingerprints(root)
    except UserError:
        return []  # code that cannot be parsed: its stage says so
    changed = sorted(stage for stage, content in foretold.items() if stage in recorded and json.loads(recorded[stage]) != content)
    if not changed:
        return []
    if not _is_recorded_code(root):
        return _code_with_an_old_time(root)
    says = f"code was saved after `fingerprint` had read it and before DVC looked at it; it reaches {', '.join(changed)}."
    return [Problem(says, [], FORCE_FINGERPRINT, lambda: _dvc(FORCE_FINGERPRINT))]


def _code_with_an_old_time(root: Path) -> Problems:
    """Return the problem of code that was changed, though all of it looks older than the last fingerprint."""
    files = [path for folder in CODE for path in (root / folder).rglob("*.py")] + [root / LOCK_FILE]
    fingerprinted = min(path.stat().st_mtime_ns for path in (root / FOLDER).glob("*.json"))
    if max(path.stat().st_mtime_ns for path in files) >= fingerprinted:
        return []
    says = f"code below {' and '.join(CODE)} was changed without a new time of change, and DVC may take it for unchanged."
    return [Problem(says, [], "privllm check --fix   (touches it)", lambda: _touch(files))]


def _is_recorded_code(root: Path) -> bool:
    """Does dvc.lock name the code that lies here, so that DVC sees nothing to do?"""
    try:
        deps = parse_yaml((root / LOCK).read_text("utf-8"))["stages"]["fingerprint"]["deps"]
        recorded = {dep["path"]: dep.get("md5", "") for dep in deps}
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return False
    code = {folder: content_of(with_digests(root / folder, tracked_files(root / folder), None)) for folder in CODE}
    code[str(LOCK_FILE)] = md5_of(root / LOCK_FILE)
    return all(recorded.get(path, content) == content for path, content in code.items())


def _dvc(command: str) -> None:
    """Run a command of DVC's in the working directory, its output shown. Raises UserError where it fails."""
    done = subprocess.run([sys.executable, "-P", "-m", "dvc", *shlex.split(command)[1:]], check=False)
    if done.returncode:
        raise UserError(f"`{command}` failed: see above.")
