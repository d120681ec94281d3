"""What older revisions were trained on: git names them, their dvc.lock names the packed documents, DVC's cache holds these.

A revision is a commit that changed dvc.lock, of any branch, tag or experiment, unless it belongs to this project's own past. Nothing is
checked out: data/pack's directory object is read in the cache, then the one shard of `documents/` that would know the document. Where a
cache lacks these (it was cleaned, or belongs to another machine) the answer is "unknown", never "not there".
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
# This project's own repository once held dvc.lock files of builds of its demo; every clone inherits them. The commit that took the last one
# out, and all before it, are no builds of anybody's documents. Git names a commit by all that came before it, so no commit of a user's
# own can be among them; where history was rewritten, or is shallow, and lacks this commit, nothing is left out.
END_OF_OWN_BUILDS = "9acb3d2753db6e54e1ef3c329dac90d52c1d9f4b"
LARGEST = 64 << 20  # bytes of a file in git that is read


class Revision(NamedTuple):
    """One commit's build."""

    commit: str  # short
    date: str  # of the commit, ISO 8601
    subject: str
    names: tuple[str, ...]  # tags and experiments with the same dvc.lock
    pack: str  # data/pack's directory object
    model: bool  # was a model trained on it


def revisions(root: Path) -> list[Revision]:
    """The revisions whose dvc.lock has packed documents, newest first, but for this project's own past; none without git or commits."""
    # --ignore-missing: of a commit that this repository lacks, git says nothing and leaves nothing out
    which = ["--all", "--full-history", "--ignore-missing", f"^{END_OF_OWN_BUILDS}"]
    log = git(root, "log", *which, "--format=%h%x1f%cs%x1f%s", "--", LOCK).decode("utf-8", "replace")
    commits = [tuple(line.split("\x1f", 2)) for line in log.splitlines()]
    refs = git(root, "for-each-ref", "--format=%(refname)", "refs/tags", "refs/exps").decode("utf-8", "replace").splitlines()
    named = [found for ref in refs if (found := NAMED.fullmatch(ref))]
    locks = _locks(root, [*(commit for commit, _, _ in commits), *(found[0] for found in named)])
    names: dict[bytes, list[str]] = {}
    for found, blob in zip(named, locks[len(commits) :], strict=True):
        names.setdefault(blob, []).append(found[1])
    made = []
    for (commit, date, subject), blob in zip(commits, locks, strict=False):
        if packed := _packed(blob):
            made.append(Revision(commit, date, subject, tuple(names.get(blob, ())), *packed))
    return made


def verdicts(revision: Revision, ids: list[str], cache: Cache | None) -> dict[str, str]:
    """One of `VERDICTS` for each id: the split it was packed for, absent, or unknown because this cache cannot tell."""
    shards = _shards(cache.folder, revision.pack) if cache else None
    if cache is None or shards is None:
        return dict.fromkeys(ids, UNKNOWN)
    by_shard: dict[str, list[str]] = {}
    for identifier in ids:
        by_shard.setdefault(shard_name(shard_of(identifier, (len(shards) - 1).bit_length())), []).append(identifier)
    told: dict[str, str] = {}
    for name, members in by_shard.items():
        path = cache.path(shards.get(name, ""))
        if not path.is_file():
            told |= dict.fromkeys(members, UNKNOWN)
            continue
        packed = _documents(path)
        there = packed.filter(pc.is_in(packed["id"], pa.array(members, pa.string())))
        told |= dict.fromkeys(members, ABSENT) | dict(zip(there["id"].to_pylist(), there["split"].to_pylist(), strict=True))
    return {identifier: told[identifier] for identifier in ids}


def in_git(root: Path, folder: Path) -> bool:
    """Did git ever hold a file of that folder itself, rather than its hash?"""
    return bool(git(root, "log", "--all", "-1", "--format=%h", "--", f"{folder.as_posix()}/"))


@lru_cache(OPEN_OBJECTS)
def _shards(cache: Path, pack: str) -> dict[str, str] | None:
    """{file name: MD5} of the shards of data/pack/documents; None where the directory object is not in the cache."""
    entries = Cache(cache).listing(pack) or {}
    return {name.removeprefix("documents/"): md5 for name, md5 in entries.items() if name.startswith("documents/")} or None


@lru_cache(OPEN_OBJECTS)
def _documents(path: Path) -> pa.Table:
    return read_table(path, ["id", "split"])


@lru_cache(OPEN_OBJECTS)
def _packed(lock: bytes) -> tuple[str, bool] | None:
    """(data/pack's directory object, whether a model was trained on it) of a dvc.lock; None where it names none."""
    try:
        stages: dict[str, Any] = (parse_yaml(lock) or {}).get("stages") or {}
    except (yaml.YAMLError, AttributeError):
        return None
    for stage, key in (("pretrain", "deps"), ("pack", "outs")):  # what was trained on, even where pack has run again since
        declared = [one or {} for name, one in stages.items() if name.partition("@")[0] == stage]
        for entry in (entry for one in declared for entry in one.get(key) or []):
            if entry.get("path") == PACK and DIRECTORY.fullmatch(str(entry.get("md5"))):
                return entry["md5"], stage == "pretrain"
    return None


def _locks(root: Path, names: list[str]) -> list[bytes]:
    """The dvc.lock of each commit or ref, empty where it has none."""
    return blobs(root, [f"{name}:./{LOCK}" for name in names])


def blobs(root: Path, names: list[str]) -> list[bytes]:
    """The contents of files in git, each named `commit:./path`; empty where there is none, or one larger than `LARGEST`."""
    listed = git(root, "cat-file", "--batch-check=%(objecttype) %(objectsize)", stdin=_lines(names)).split(b"\n")
    kinds = [line.split() for line in listed[: len(names)]]
    fit = [len(kind) == 2 and kind[0] == b"blob" and kind[1].isdigit() and int(kind[1]) <= LARGEST for kind in kinds]
    said = git(root, "cat-file", "--batch", stdin=_lines([name for name, fits in zip(names, fit, strict=False) if fits]))
    found, place = [b""] * len(names), 0
    for index in (index for index, fits in enumerate(fit) if fits):
        start = said.index(b"\n", place) + 1
        place = start + int(said[place:start].split()[2])
        found[index], place = said[start:place], place + 1
    return found


def _lines(names: list[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def git(root: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    """What git says; nothing where there is no git, no repository or no commit."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, input=stdin, capture_output=True, check=False)
    except FileNotFoundError:
        return b""
    return done.stdout if done.returncode == 0 else b""
