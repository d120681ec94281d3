"""check: problems that DVC cannot handle, or cannot see, and the command that fixes each.

DVC identifies a file by its size, time and inode, hashes what a stage depends on after the stage has
ended, and takes the working copy of the sources for the newest version. So an edit can be missed, and a
colleague's edit can be undone. `collect` records what it read: names and file statuses
(`.privllm/sources.arrow`), and the content as a whole (`engine.source_guard`). Nothing here calls DVC, so
the check ends even where DVC would hang.
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

from privllm.collect.documents import path_of
from privllm.collect.dvc_content import content_of, paths_of, tracked_files, with_digests
from privllm.collect.dvcignore import FILE as DVCIGNORE
from privllm.collect.dvcignore import DvcIgnore
from privllm.collect.file_index import load, touched_unseen
from privllm.core.errors import UserError
from privllm.core.printable import printable
from privllm.core.work_paths import MODULES_FILE, SOURCES_INDEX, UPGRADE_JOURNAL
from privllm.engine.cache import Cache, find_cache
from privllm.engine.digests import md5_of
from privllm.engine.fingerprint import FOLDER, LOCK_FILE, closure, foretell_fingerprints
from privllm.engine.import_guard import OURS, PACKAGE, package_folder, shadows
from privllm.engine.module_analysis import analysis_cache
from privllm.engine.params_guard import explain_other_parameters, force_command, stages_with_other_parameters
from privllm.engine.pipeline import declared_stages, outputs_of
from privllm.engine.source_guard import (
    COMMAND,
    SAVED_TOO_LATE,
    SOURCES,
    content_named_in,
    locked_stages,
    saved_too_late,
)
from privllm.manage.git_revisions import blobs, git

FORCE_FINGERPRINT = "dvc repro --force fingerprint"
NAMED = 10  # files that are named on the terminal
OLDER_VERSIONS = 50  # of data/sources.dvc in git that are looked at
Problems = list["Problem"]


class Problem(NamedTuple):
    """A problem that prevents a correct build."""

    message: str
    names: list[str]  # of the files concerned
    command: str  # that fixes it, for a person
    fix: Callable[[], None] | None = None  # the same, where it can lose nothing
    blocks_dvc: bool = False  # would DVC end in an error, or hang

    def lines(self) -> list[str]:
        """Return the problem for a terminal."""
        lines = [self.message, *(f"  {name}" for name in self.names[:NAMED])]
        if len(self.names) > NAMED:
            lines.append(f"  ... and {len(self.names) - NAMED:,} more")
        return [*lines, f"  -> {self.command}"]


def find_problems(root: Path = Path()) -> Problems:
    """Return what DVC would not report of the repository at `root`.

    Where something blocks DVC, only that is returned.
    """
    unusable = unusable_inputs(root)
    if unusable:
        return unusable
    sources = root / SOURCES
    problems = [*files_like_libraries(root), *unfinished_upgrade(root), *code_saved_too_late(root)]
    if sources.is_dir():
        files = tracked_files(sources)
        problems += unseen_edits(root, touched_unseen(root / SOURCES_INDEX, files))
        problems += not_checked_out(root, with_digests(sources, files, root / SOURCES_INDEX))
    if saved_too_late(root):
        message = SAVED_TOO_LATE.partition(". ")[0]
        problems.append(Problem(f"{message}.", [], COMMAND, lambda: _run_dvc(COMMAND)))
    misread_stages = stages_with_other_parameters(root)
    if misread_stages:
        command = force_command(misread_stages)
        message = explain_other_parameters(misread_stages)
        problems.append(Problem(f"{message}.", [], command, lambda: _run_dvc(command)))
    return problems


def fix_problems(problems: Problems) -> Problems:
    """Fix what can be fixed without losing anything; return the remaining problems, which need a person."""
    for problem in problems:
        if problem.fix:
            problem.fix()
    return [problem for problem in problems if not problem.fix]


def unusable_inputs(root: Path) -> Problems:
    """Return the files in the build's input folders at which DVC fails or hangs."""
    names: dict[tuple[str, str], list[str]] = {}
    for folder in input_folders(root):
        for path in _paths_below(root / folder):
            reason = _why_unusable(path)
            if reason:
                names.setdefault(reason, []).append(str(path.relative_to(root)))
    problems = []
    for (description, command), paths in sorted(names.items()):
        message = f"DVC cannot handle {description}:"
        printable_names = [printable(name) for name in sorted(paths)]
        problems.append(Problem(message, printable_names, f"{command} {_quoted(paths)}", blocks_dvc=True))
    return problems


def input_folders(root: Path) -> list[str]:
    """Return the folders that stages depend on and no stage makes."""
    outputs: set[str] = set()
    deps: set[str] = set()
    for stage in declared_stages(root).values():
        outputs.update(outputs_of(stage))
        deps.update(stage.get("deps", []))
    return sorted(path for path in deps if not _is_made(path, outputs) and (root / path).is_dir())


def _is_made(path: str, outputs: set[str]) -> bool:
    """Return whether a path is an output, or inside one."""
    return any(path == output or path.startswith(f"{output}/") for output in outputs)


def _paths_below(folder: Path) -> Iterator[Path]:
    """Yield every file, link and special file that DVC would come across."""
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
    """Return why DVC cannot hash a path, and the command that fixes it; None where it can."""
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
        return "a broken link", "rm"
    if S_ISDIR(status.st_mode):
        return None
    if not S_ISREG(status.st_mode):
        return "a pipe, a socket or a device, which it would wait for forever", "rm"
    return None if os.access(path, os.R_OK) else ("a file without read permission", "chmod u+r")


def _quoted(names: list[str]) -> str:
    """Return names as arguments for a shell."""
    arguments = []
    for name in sorted(names)[:NAMED]:
        arguments.append(shlex.quote(name) if name.isprintable() else f"$'{_escaped(name)}'")
    if len(names) > NAMED:
        arguments.append("...")
    return " ".join(arguments)


def _escaped(name: str) -> str:
    """Return a name for use between $' and ' in a shell: all but printable ASCII as octal numbers."""
    characters = []
    for byte in os.fsencode(name):
        is_plain = 32 <= byte < 127 and chr(byte) not in "'\\"
        characters.append(chr(byte) if is_plain else f"\\{byte:03o}")
    return "".join(characters)


def unseen_edits(root: Path, files: pa.Table) -> Problems:
    """Return the source files that differ from what `collect` read, but look unchanged to DVC."""
    changed: list[Path] = []
    for source, digest in zip(files["source"].to_pylist(), files["md5"].to_pylist(), strict=True):
        path = path_of(source, root / SOURCES)
        with suppress(OSError):
            if md5_of(path) != digest:
                changed.append(path)
    if not changed:
        return []
    message = f"{len(changed):,} files in {SOURCES} were edited but kept their size and time, so DVC does not see it:"
    names = [printable(str(path.relative_to(root))) for path in changed]
    return [Problem(message, names, "privllm check --fix   (touches them)", lambda: _touch(changed))]


def _touch(paths: list[Path]) -> None:
    for path in paths:
        path.touch()


def not_checked_out(root: Path, files: pa.Table) -> Problems:
    """Return a problem where sources were pulled or merged but not checked out.

    `dvc repro` would then take the old files for the newest. `files` (KNOWN) are those in data/sources
    now. A user's own edit also makes them differ from what git names. But a file that was merged and not
    checked out is still as `collect` read it, while data/sources.dvc names another content than it did
    then. After a build has undone a merge, data/sources has what an earlier commit names.
    """
    note, cache = f"{SOURCES}.dvc", find_cache(root)
    named, working = content_named_in(root / note), content_of(files)
    committed = content_named_in(blobs(root, [f"HEAD:./{note}"])[0])
    index = load(root / SOURCES_INDEX)
    named_then = (index.schema.metadata or {}).get(b"named", b"").decode()
    if named and named_then and named not in (named_then, working):
        names = _outdated_files(cache, named, index, files)
        command = f"dvc {'pull' if names is None else 'checkout'} {note}"
        if working != content_of(index):
            command += "   (save your own edits elsewhere first: it asks whether to overwrite them)"
    elif committed and committed != working and working in older_versions(root, note):
        names = _differing_files(cache, committed, working)
        command = f"git checkout HEAD -- {note} && dvc {'pull' if names is None else 'checkout'} {note}"
    else:
        return []
    if names == []:
        return []
    message = f"{SOURCES} is not what git names; `dvc repro` would undo the changes of a merge, pull or checkout:"
    return [Problem(message, [printable(f"{SOURCES}/{name}") for name in names or []], command)]


def _outdated_files(cache: Cache | None, named: str, index: pa.Table, files: pa.Table) -> list[str] | None:
    """Return the files that are still as `collect` read them, where the content `named` has another version.

    None where the cache lacks `named`.
    """
    named_files = cache.listing(named) if cache else None
    if named_files is None:
        return None
    collected = dict(zip(paths_of(index), index["md5"].to_pylist(), strict=True))
    current = dict(zip(paths_of(files), files["md5"].to_pylist(), strict=True))
    outdated = []
    for name in sorted(named_files.keys() | collected.keys()):
        is_untouched = current.get(name) == collected.get(name)
        if is_untouched and collected.get(name) != named_files.get(name):
            outdated.append(name)
    return outdated


def older_versions(root: Path, note: str) -> set[str]:
    """Return the contents that earlier commits name in the file `note`."""
    log = git(root, "log", f"--max-count={OLDER_VERSIONS}", "--skip=1", "--format=%H", "HEAD", "--", note)
    versions = blobs(root, [f"{commit}:./{note}" for commit in log.decode().split()])
    return {content_named_in(version) for version in versions} - {""}


def _differing_files(cache: Cache | None, committed: str, working: str) -> list[str] | None:
    """Return the names of the files in which two contents differ; None where the cache lacks one of them."""
    if cache is None:
        return None
    committed_files, working_files = cache.listing(committed), cache.listing(working)
    if committed_files is None or working_files is None:
        return None
    return sorted({name for name, _ in committed_files.items() ^ working_files.items()})


def files_like_libraries(root: Path) -> Problems:
    """Return a problem for files in the root that Python may take for a library; every stage would refuse them."""
    stems = {entry.name.partition(".")[0] for entry in root.iterdir()}
    if not any(shadows(root, stems - set(OURS))):
        return []  # nothing there can be imported, and reading all code takes seconds
    libraries: set[str] = set()
    analysis_cache.load(root / MODULES_FILE)
    for path in sorted((root / "stages").glob("*.py")):
        try:
            libraries |= closure(root, f"stages.{path.stem}")[1]
        except UserError:  # code that cannot be parsed: its stage reports it
            continue
    found = dict(shadows(root, libraries))
    if not found:
        return []
    message = "Python may take these for libraries of their names, so every stage refuses to run:"
    names = [printable(f"{entry.name} ({library})") for entry, library in found.items()]
    first = next(iter(found)).name
    return [Problem(message, names, f"mv {shlex.quote(first)} {shlex.quote(f'my_{first}')}   (or another name)")]


def unfinished_upgrade(root: Path) -> Problems:
    """Return a problem where `privllm upgrade` was killed while it planned: its files are there though nobody agreed."""
    if not (root / UPGRADE_JOURNAL).is_file():
        return []
    message = "`privllm upgrade` was killed while it planned, and left files that nobody has agreed to."
    return [Problem(message, [], "privllm upgrade   (takes them back first)")]


def code_saved_too_late(root: Path) -> Problems:
    """Return a problem where code was saved after `fingerprint` had read it and before DVC hashed it."""
    recorded = {path.stem: path.read_bytes() for path in (root / FOLDER).glob("*.json")}
    if not recorded:
        return []
    try:
        fingerprints = foretell_fingerprints(root)
    except UserError:
        return []  # code that cannot be parsed: its stage reports it
    changed = []
    changed_modules: set[str] = set()
    for stage, fingerprint in fingerprints.items():
        before = json.loads(recorded[stage]) if stage in recorded else fingerprint
        if before != fingerprint:
            changed.append(stage)
            changed_modules |= {name for name, _ in before["modules"].items() ^ fingerprint["modules"].items()}
    if not changed:
        return []
    if not _is_recorded_code(root):
        return _code_with_old_time(root)
    stages = ", ".join(sorted(changed))
    only_package = all(name.partition(".")[0] == PACKAGE for name in changed_modules)
    if only_package and package_folder(root) != root:
        message = f"privllm was changed since the last build, which affects {stages}; DVC does not see it."
        return [Problem(message, [], "privllm upgrade && dvc repro")]
    message = f"code was saved after `fingerprint` had read it and before DVC hashed it; it affects {stages}."
    return [Problem(message, [], FORCE_FINGERPRINT, lambda: _run_dvc(FORCE_FINGERPRINT))]


def _code_with_old_time(root: Path) -> Problems:
    """Return a problem if code was changed, but all of it looks older than the last fingerprint."""
    files = [root / LOCK_FILE]
    for folder in _code_folders(root):
        files.extend((root / folder).rglob("*.py"))
    fingerprint_time = min(path.stat().st_mtime_ns for path in (root / FOLDER).glob("*.json"))
    if max(path.stat().st_mtime_ns for path in files) >= fingerprint_time:
        return []
    message = f"code in {' and '.join(_code_folders(root))} was changed without a new modification time, so DVC may take it for unchanged."
    return [Problem(message, [], "privllm check --fix   (touches it)", lambda: _touch(files))]


def _is_recorded_code(root: Path) -> bool:
    """Return whether dvc.lock names the current code, so that DVC sees nothing to do."""
    try:
        deps = locked_stages(root)["fingerprint"]["deps"]
        recorded = {dep["path"]: dep.get("md5", "") for dep in deps}
    except (KeyError, TypeError):
        return False
    code = {str(LOCK_FILE): md5_of(root / LOCK_FILE)}
    for folder in _code_folders(root):
        files = with_digests(root / folder, tracked_files(root / folder), None)
        code[folder] = content_of(files)
    return all(recorded.get(path, content) == content for path, content in code.items())


def _code_folders(root: Path) -> list[str]:
    """Return the folders of code below `root`: in a project the package lies elsewhere."""
    return [folder for folder in OURS if (root / folder).is_dir()]


def _run_dvc(command: str) -> None:
    """Run a DVC command in the working directory, its output visible. Raises UserError where it fails."""
    process = subprocess.run([sys.executable, "-P", "-m", "dvc", *shlex.split(command)[1:]], check=False)
    if process.returncode:
        raise UserError(f"`{command}` failed: see above.")
