"""Older revisions and the documents that their models were trained on.

Git lists the revisions, their dvc.lock names the packed documents, and DVC's cache holds these. A
revision is a commit of any branch, tag or experiment that changed dvc.lock, except commits of this
project's own past. Nothing is checked out: data/pack's directory object is read from the cache, then the
one shard of `documents/` that would hold the document. Where the cache lacks these (it was cleaned, or
belongs to another machine) the answer is "unknown", never "absent".
"""

import re
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from privllm.core.plain_yaml import parse_yaml
from privllm.core.records import shard_name, shard_of
from privllm.core.split import SPLITS
from privllm.core.tables import read_table
from privllm.engine.cache import Cache

LOCK = "dvc.lock"
PACK = "data/pack"
ABSENT, UNKNOWN = "absent", "unknown"
VERDICTS = (*SPLITS, ABSENT, UNKNOWN)
NAMED = re.compile(r"refs/(?:tags|exps/[0-9a-f]{2}/[0-9a-f]{38})/(.+)")
DIRECTORY = re.compile(r"[0-9a-f]{32}\.dir")
OPEN_OBJECTS = 256
# This project's repository once held dvc.lock files of its demo's builds, and every clone inherits them.
# The commit that removed the last one, and all commits before it, are no builds of a user's documents.
# A commit's hash depends on all commits before it, so no user's commit can be among them; where history
# was rewritten, or is shallow, and lacks this commit, nothing is left out.
END_OF_OWN_BUILDS = "9acb3d2753db6e54e1ef3c329dac90d52c1d9f4b"
LARGEST = 64 << 20  # bytes of a file in git that is read


class Revision(NamedTuple):
    """The build of one commit."""

    commit: str  # short
    date: str  # of the commit, ISO 8601
    subject: str
    names: tuple[str, ...]  # tags and experiments with the same dvc.lock
    pack: str  # data/pack's directory object
    model: bool  # was a model trained on it


def revisions(root: Path) -> list[Revision]:
    """Return the revisions whose dvc.lock has packed documents, newest first.

    Empty without git or commits. This project's own past is left out.
    """
    # --ignore-missing: if the repository lacks this commit, git reports no error and excludes nothing.
    selected = ["--all", "--full-history", "--ignore-missing", f"^{END_OF_OWN_BUILDS}"]
    log = git_text(root, "log", *selected, "--format=%h%x1f%cs%x1f%s", "--", LOCK)
    commits = [tuple(line.split("\x1f", 2)) for line in log.splitlines()]
    locks = _locks(root, [commit for commit, _, _ in commits])
    names = _names_by_lock(root)
    result = []
    for (commit, date, subject), lock in zip(commits, locks, strict=True):
        packed = _packed(lock)
        if packed:
            pack, has_model = packed
            result.append(Revision(commit, date, subject, tuple(names.get(lock, ())), pack, has_model))
    return result


def _names_by_lock(root: Path) -> dict[bytes, list[str]]:
    """Return the names of tags and experiments by the content of their dvc.lock."""
    refs = git_text(root, "for-each-ref", "--format=%(refname)", "refs/tags", "refs/exps").splitlines()
    named_refs = [match for match in map(NAMED.fullmatch, refs) if match]
    locks = _locks(root, [match[0] for match in named_refs])
    names: dict[bytes, list[str]] = {}
    for match, lock in zip(named_refs, locks, strict=True):
        names.setdefault(lock, []).append(match[1])
    return names


def verdicts(revision: Revision, ids: list[str], cache: Cache | None) -> dict[str, str]:
    """Return one of `VERDICTS` for each id: the split it was packed for, absent, or unknown to this cache."""
    shards = _shards(cache.folder, revision.pack) if cache else None
    if cache is None or shards is None:
        return dict.fromkeys(ids, UNKNOWN)
    bits = (len(shards) - 1).bit_length()
    by_shard: dict[str, list[str]] = {}
    for identifier in ids:
        by_shard.setdefault(shard_name(shard_of(identifier, bits)), []).append(identifier)
    result: dict[str, str] = {}
    for name, members in by_shard.items():
        path = cache.path(shards.get(name, ""))
        if not path.is_file():
            result |= dict.fromkeys(members, UNKNOWN)
            continue
        packed = _documents(path)
        rows = packed.filter(pc.is_in(packed["id"], pa.array(members, pa.string())))
        result |= dict.fromkeys(members, ABSENT)
        result |= dict(zip(rows["id"].to_pylist(), rows["split"].to_pylist(), strict=True))
    return {identifier: result[identifier] for identifier in ids}


def in_git(root: Path, folder: Path) -> bool:
    """Return whether git ever held a file of that folder itself, rather than the folder's hash."""
    return bool(git(root, "log", "--all", "-1", "--format=%h", "--", f"{folder.as_posix()}/"))


@lru_cache(OPEN_OBJECTS)
def _shards(cache: Path, pack: str) -> dict[str, str] | None:
    """Return {file name: MD5} of data/pack/documents; None where the cache lacks the directory object."""
    shards = {}
    for name, md5 in (Cache(cache).listing(pack) or {}).items():
        if name.startswith("documents/"):
            shards[name.removeprefix("documents/")] = md5
    return shards or None


@lru_cache(OPEN_OBJECTS)
def _documents(path: Path) -> pa.Table:
    return read_table(path, ["id", "split"])


@lru_cache(OPEN_OBJECTS)
def _packed(lock: bytes) -> tuple[str, bool] | None:
    """Return data/pack's directory object in a dvc.lock, and whether a model was trained on it.

    None where the lock file names none.
    """
    try:
        stages: dict[str, Any] = (parse_yaml(lock) or {}).get("stages") or {}
    except (yaml.YAMLError, AttributeError):
        return None
    trained_on = _pack_entry(stages, "pretrain", "deps")  # even where pack has run again since
    if trained_on:
        return trained_on, True
    packed = _pack_entry(stages, "pack", "outs")
    return (packed, False) if packed else None


def _pack_entry(stages: dict[str, Any], stage: str, key: str) -> str:
    """Return the MD5 of data/pack among the entries `key` of a stage or its matrix; "" where it is missing."""
    for name, locked in stages.items():
        if name.partition("@")[0] != stage:
            continue
        for entry in (locked or {}).get(key) or []:
            if entry.get("path") == PACK and DIRECTORY.fullmatch(str(entry.get("md5"))):
                return entry["md5"]
    return ""


def _locks(root: Path, names: list[str]) -> list[bytes]:
    """Return the dvc.lock of each commit or ref, empty where it has none."""
    return blobs(root, [f"{name}:./{LOCK}" for name in names])


def blobs(root: Path, names: list[str]) -> list[bytes]:
    """Return the contents of files in git, each named `commit:./path`.

    Empty where there is no such file, or one larger than `LARGEST`.
    """
    contents = [b""] * len(names)
    listing = git(root, "cat-file", "--batch-check=%(objecttype) %(objectsize)", stdin=_lines(names))
    descriptions = listing.split(b"\n")[: len(names)]
    readable = [index for index, description in enumerate(descriptions) if _is_readable(description)]
    output = git(root, "cat-file", "--batch", stdin=_lines([names[index] for index in readable]))
    position = 0
    for index in readable:  # "<object> <type> <size>", a line feed, the content, a line feed
        start = output.index(b"\n", position) + 1
        size = int(output[position:start].split()[2])
        contents[index] = output[start : start + size]
        position = start + size + 1
    return contents


def _is_readable(description: bytes) -> bool:
    """Return whether "<type> <size>", as git describes an object, is a file of at most `LARGEST` bytes."""
    fields = description.split()
    if len(fields) != 2:
        return False
    kind, size = fields
    return kind == b"blob" and size.isdigit() and int(size) <= LARGEST


def _lines(names: list[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def git(root: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    """Run git and return its output; nothing where there is no git, no repository or no commit."""
    try:
        process = subprocess.run(["git", *arguments], cwd=root, input=stdin, capture_output=True, check=False)
    except FileNotFoundError:
        return b""
    return process.stdout if process.returncode == 0 else b""


def git_text(root: Path, *arguments: str) -> str:
    """Run git and return its output as text; bytes that are not UTF-8 are replaced."""
    return git(root, *arguments).decode("utf-8", "replace")
