"""trace: every fate is told as the tables have it, older revisions as git and the cache have them, and a lack as a lack."""

import json
import os
import re
import subprocess
from hashlib import md5
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from privllm.cli.app import app
from privllm.collect.documents import source_of
from privllm.collect.recipe import CollectConfig, collect
from privllm.core.errors import UserError
from privllm.core.records import (
    ANNOTATIONS,
    CLEAN,
    CLUSTERS,
    DEDUPED,
    DOCUMENTS,
    DROPPED,
    QUARANTINE,
    document_id,
    shard_name,
    shard_of,
)
from privllm.core.special_tokens import own_ids
from privllm.core.split import SPLITS
from privllm.core.tables import write_table
from privllm.engine.cache import Cache
from privllm.manage import git_revisions
from privllm.manage.document_status import fates, rows_of
from privllm.manage.git_revisions import Revision, in_git, revisions, verdicts
from privllm.manage.source_files import is_below, source_name
from privllm.manage.trace import PROMOTED, lines_of, near_names, trace
from privllm.tokens.mixture import rounds_of
from privllm.tokens.pack import PACKED, pack_rows
from privllm.tokens.rows import write_rows
from privllm.tokens.trained_documents import TRAINED as TRAINED_DOCUMENTS
from tests.hostile import ESCAPED, FILE_NAME, obeyed
from tests.workshop import ROOT

BITS, CONTEXT = 1, 8
PACK_OUT = "stages:\n  pack:\n    outs:\n    - path: data/pack\n      md5: {0}\n"
TRAINED = PACK_OUT + "  pretrain:\n    deps:\n    - path: data/pack\n      md5: {0}\n"
PACKED_SPLITS = {
    "a.txt": "train",
    "b.txt": "validation",
    "pages/c.html": "test",
    "many.jsonl#1": "train",
    "many.jsonl#3": "train",
}
LENGTHS = {"a.txt": 20, "b.txt": 5, "pages/c.html": 0, "many.jsonl#1": 7, "many.jsonl#3": 9}
COPIES = {"a.txt": 3, "many.jsonl#3": 2}  # of the others one
DROPPED_BY_CLEAN, DROPPED_BY_DEDUP, REFUSED = "short.txt", "copy.txt", "pages/image.html"


def by_shard(rows: list[dict], schema: pa.Schema, folder: Path) -> None:
    """Write rows into the shards of their ids, as every data stage does."""
    for index in range(2**BITS):
        chosen = sorted((row for row in rows if shard_of(row["id"], BITS) == index), key=lambda row: row["id"])
        write_table(pa.Table.from_pylist(chosen, schema), folder / shard_name(index))


def document(source: str, **more: object) -> dict:
    identifier = document_id(source)
    known = {
        "id": identifier,
        "source": source,
        "media_type": "text/plain",
        "encoding": "utf-8",
        "digest": f"d-{source}",
        "text": source,
    }
    return (
        known
        | {"language": "en", "language_score": 0.5, "placeholders": 2, "cluster": identifier, "split": "train"}
        | more
    )


def write_pack(folder: Path, splits: dict[str, str]) -> None:
    """Packed documents of `LENGTHS` tokens each, as the stage lays them out."""
    rows = []
    for index in range(2**BITS):
        for split in SPLITS:
            sources = [
                source
                for source, name in splits.items()
                if name == split and shard_of(document_id(source), BITS) == index
            ]
            ids = sorted(document_id(source) for source in sources)
            lengths = {document_id(source): LENGTHS.get(source, 4) for source in sources}
            copies = {document_id(source): COPIES.get(source, 1) for source in sources}
            rounds = []
            for chosen in rounds_of(np.array([copies[i] for i in ids], np.int64)):
                names = [ids[i] for i in chosen]
                tokens = [np.arange(10, 10 + lengths[i], dtype=np.int32) for i in names]
                rounds.append(pack_rows(tokens, pa.array(names, pa.string()), CONTEXT, own_ids(0)))
            columns = [pa.concat_arrays([getattr(part, name) for part in rounds]) for name in ("input_ids", "pieces")]
            write_rows(*columns, CONTEXT, folder / split / f"{index:05d}.arrow")
            rows += [
                {"id": i, "split": split, "first_row": 0, "copies": copies[i], "tokens": lengths[i], "bytes": 1}
                for i in ids
            ]
    by_shard(rows, PACKED, folder / "documents")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build with one document of every fate."""
    root = tmp_path_factory.mktemp("trace")
    data = root / "data"
    kept = [document(source) for source in PACKED_SPLITS]
    copy = document(DROPPED_BY_DEDUP, cluster=document_id("a.txt"))
    short = document(DROPPED_BY_CLEAN, reason="too_short", detail="3 words")
    by_shard([*kept, copy, short], DOCUMENTS, data / "collect")
    refused = [{"source": REFUSED, "digest": "", "bytes": 9, "reason": "undecodable", "detail": ""}]
    write_table(pa.Table.from_pylist(refused, QUARANTINE), data / "collect/quarantine/quarantine.parquet")
    by_shard([*kept, copy], CLEAN, data / "clean")
    by_shard([short], DROPPED, data / "clean/dropped")
    by_shard(kept, DEDUPED, data / "dedup")
    clusters = [
        {"id": row["id"], "cluster": row["cluster"], "kept": row is not copy, "reason": ""} for row in [*kept, copy]
    ]
    clusters[-1]["reason"] = "exact"
    write_table(pa.Table.from_pylist(clusters, CLUSTERS), data / "dedup/clusters/clusters.parquet")
    by_shard([{"id": document_id("a.txt")}], ANNOTATIONS, data / "annotate")
    write_pack(data / "pack", PACKED_SPLITS)
    for source in [
        *PACKED_SPLITS,
        DROPPED_BY_CLEAN,
        DROPPED_BY_DEDUP,
        REFUSED,
        "new.txt",
        "pages/.hidden.txt",
        "pages/new.html",
    ]:
        if "#" not in source:
            (data / "sources" / source).parent.mkdir(parents=True, exist_ok=True)
            (data / "sources" / source).write_text(source)
    (data / "sources/many.jsonl").write_text('{"text": "one"}\n\n{"text": "three"}\n')
    return root


def fate_of(root: Path, source: str) -> tuple[str, str]:
    (fate,) = trace(root, source).documents
    return fate.fate, fate.why


def test_every_fate_is_told(root: Path) -> None:
    for source, split in PACKED_SPLITS.items():
        assert fate_of(root, source) == (split, "")
    assert fate_of(root, DROPPED_BY_CLEAN) == ("dropped by clean", "too_short: 3 words")
    assert fate_of(root, DROPPED_BY_DEDUP) == ("dropped by dedup", "exact: a.txt stays")
    assert fate_of(root, REFUSED) == ("quarantined", "undecodable")
    assert fate_of(root, "new.txt") == ("not built yet", "")


def test_an_id_says_what_its_path_says(root: Path) -> None:
    for source in [*PACKED_SPLITS, DROPPED_BY_CLEAN, DROPPED_BY_DEDUP, REFUSED]:
        assert trace(root, document_id(source)).documents == trace(root, source).documents
        assert trace(root, f"data/sources/{source}").documents == trace(root, source).documents


def test_one_document_in_words(root: Path) -> None:
    said = "\n".join(lines_of(trace(root, "a.txt")))
    for word in (
        document_id("a.txt"),
        "d-a.txt",
        "text/plain",
        "utf-8",
        "en (0.50)",
        "2 placeholders",
        "dedup      kept",
        "20 tokens",
    ):
        assert word in said
    assert "20 tokens, 3 times, rows " in said
    assert "annotated  yes" in said
    assert "annotated  no" in "\n".join(lines_of(trace(root, "b.txt")))
    assert "none in git" in said


def test_rows_are_those_that_hold_its_pieces(root: Path) -> None:
    for fate in fates(root, {document_id(source): source for source in PACKED_SPLITS}):
        assert fate.pack
        pieces = pa.ipc.open_stream(root / fate.pack["file"]).read_all()["pieces"].to_pylist()
        held = [row for row, of_row in enumerate(pieces) if any(piece["id"] == fate.id for piece in of_row)]
        told = fate.pack["rows"]
        assert sorted({row for first, last in told for row in range(first, last + 1)}) == held
        assert all(end + 1 < begin for (_, end), (begin, _) in pairwise(told)), "runs are as long as can be"
        assert fate.pack["copies"] == COPIES.get(fate.source, 1)
        assert fate.pack["tokens"] == LENGTHS[fate.source]


def test_a_folder_is_a_table_with_counts(root: Path) -> None:
    found = trace(root, "data/sources/pages/")
    assert {fate.source: fate.fate for fate in found.documents} == {
        "pages/c.html": "test",
        "pages/image.html": "quarantined",
        "pages/new.html": "not built yet",
    }
    everything = "\n".join(lines_of(trace(root, ".")))
    assert "10 documents" in everything
    assert "3 train" in everything
    assert [fate.source for fate in trace(root, "many.jsonl").documents] == ["many.jsonl#1", "many.jsonl#3"]


def test_long_tables_are_cut(root: Path, tmp_path: Path) -> None:
    rows = [document(f"f/{i:03}.txt") for i in range(25)]
    by_shard(rows, DOCUMENTS, tmp_path / "data/collect")
    said = list(lines_of(trace(tmp_path, "f")))
    assert sum(" f/" in line or line.startswith("  f/") for line in said) == 20
    assert "and 5 more" in "\n".join(said)


def test_unknown_names_get_near_ones(root: Path) -> None:
    wrong = document_id("a.txt")[:-2] + "00"
    for word, near in (
        ("pages/c.htm", "pages/c.html"),
        ("image.html", "pages/image.html"),
        (wrong, "a.txt"),
        ("0", "lists all documents"),
    ):
        with pytest.raises(UserError, match=re.escape(near)):
            trace(root, word)
    with pytest.raises(UserError, match="does not lie below"):
        trace(root, "../elsewhere.txt")


def test_a_hostile_name_is_found_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is typed as the bytes that it is, a half character among them."""
    monkeypatch.chdir(tmp_path)
    name = f"{FILE_NAME}.txt"
    (tmp_path / "data/sources").mkdir(parents=True)
    (tmp_path / "data/sources" / name).write_text("words")
    (tmp_path / "dvc.yaml").touch()
    collect(CollectConfig(shard_bits=BITS), tmp_path / "data/sources", tmp_path / "data/collect")
    shown = CliRunner().invoke(app, ["trace", name])
    assert shown.exit_code == 0, shown.output
    assert shown.output.startswith(ESCAPED)
    assert shown.output.count("\n") == 6
    assert not obeyed(shown.output)
    told = json.loads(CliRunner().invoke(app, ["trace", name, "--json"]).output)
    assert told["documents"][0]["source"] == source_of(tmp_path / name, tmp_path)
    unknown = CliRunner().invoke(app, ["trace", f"no{name}"])
    assert unknown.exit_code == 1
    assert not obeyed(unknown.stderr, lines=3)


def test_names_of_paths(tmp_path: Path) -> None:
    folder = tmp_path / "data/sources"
    for word in ("a/b.txt", "data/sources/a/b.txt", "./data/sources/a/b.txt", "a//b.txt", str(folder / "a/b.txt")):
        assert source_name(word, folder) == "a/b.txt"
    assert is_below("a/b.txt", "a")
    assert is_below("a.jsonl#12", "a.jsonl")
    assert not is_below("a.txt#12", "a.txt")
    assert not is_below("ab.txt", "a")
    assert near_names("c.txt", ["x/c.txt", "y/c.txt", "c.text"]) == ["x/c.txt", "y/c.txt"]


# Older revisions: a history of made-up locks, and a cache that holds what most of them name.


def put(cache: Cache, data: bytes, suffix: str = "") -> str:
    name = md5(data).hexdigest() + suffix
    cache.path(name).parent.mkdir(parents=True, exist_ok=True)
    cache.path(name).write_bytes(data)
    return name


def cached_pack(cache: Cache, scratch: Path, splits: dict[str, str]) -> str:
    """data/pack as DVC caches it; returns the directory object's name."""
    write_pack(scratch, splits)
    files = sorted(path for path in scratch.rglob("*") if path.is_file())
    entries = [
        {"md5": put(cache, path.read_bytes()), "relpath": path.relative_to(scratch).as_posix()} for path in files
    ]
    return put(cache, json.dumps(entries).encode(), ".dir")


def git(root: Path, *arguments: str) -> None:
    who = {f"GIT_{role}_{what}": "test@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, env={**os.environ, **who})


def commit(root: Path, lock: str, message: str) -> None:
    (root / "dvc.lock").write_text(lock)
    git(root, "add", "dvc.lock")
    git(root, "commit", "-qm", message, "--allow-empty")


@pytest.fixture
def past(root: Path, tmp_path: Path) -> Path:
    """Five commits: nothing packed, packed only, trained on, held out (on a branch), purged."""
    cache = Cache(tmp_path / ".dvc/cache")
    first = cached_pack(cache, tmp_path / "scratch/1", {"a.txt": "train", "b.txt": "validation"})
    second = cached_pack(cache, tmp_path / "scratch/2", {"a.txt": "test"})
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path, "stages: {}\n", "empty")
    commit(tmp_path, PACK_OUT.format(first), "packed")
    commit(tmp_path, TRAINED.format(first), "first model")
    git(tmp_path, "tag", "v1")
    git(tmp_path, "update-ref", f"refs/exps/ab/{'c' * 38}/brave-try", "HEAD")
    git(tmp_path, "commit", "-qm", "words only", "--allow-empty")
    git(tmp_path, "tag", "-a", "v1.1", "-m", "same model, other words")
    git(tmp_path, "checkout", "-qb", "side")
    commit(tmp_path, TRAINED.format(second), "held out")
    git(tmp_path, "checkout", "-q", "main")
    commit(tmp_path, TRAINED.format("0" * 32 + ".dir"), "purged")
    return tmp_path


def test_revisions_are_found_on_all_branches_with_their_tags(past: Path) -> None:
    found = {revision.subject: revision for revision in revisions(past)}
    assert set(found) == {"packed", "first model", "held out", "purged"}
    assert set(found["first model"].names) == {"v1", "v1.1", "brave-try"}
    assert found["purged"].names == ()
    assert found["first model"].model
    assert not found["packed"].model


def test_each_revision_says_what_it_did_with_a_document(past: Path) -> None:
    cache = Cache(past / ".dvc/cache")
    ids = {source: document_id(source) for source in ("a.txt", "b.txt", "x.txt")}
    told = {revision.subject: verdicts(revision, list(ids.values()), cache) for revision in revisions(past)}
    assert [told["first model"][i] for i in ids.values()] == ["train", "validation", "absent"]
    assert [told["held out"][i] for i in ids.values()] == ["test", "absent", "absent"]
    assert set(told["purged"].values()) == {"unknown"}
    assert set(verdicts(revisions(past)[0], ["ab" * 16], None).values()) == {"unknown"}


def test_a_missing_shard_is_unknown_not_absent(past: Path) -> None:
    cache = Cache(past / ".dvc/cache")
    pack = next(revision.pack for revision in revisions(past) if revision.subject == "held out")
    for entry in json.loads(cache.path(pack).read_text()):
        if entry["relpath"] == f"documents/{shard_name(shard_of(document_id('a.txt'), BITS))}":
            cache.path(entry["md5"]).unlink()
    revision = Revision("", "", "", (), pack, True)
    assert verdicts(revision, [document_id("a.txt")], cache) == {document_id("a.txt"): "unknown"}


def test_a_document_that_is_gone_is_still_in_old_models(past: Path) -> None:
    """It is nowhere in the sources and the build, and that is not the whole truth."""
    found = trace(past, "a.txt")
    said = "\n".join(lines_of(found))
    assert "not in the build" in said
    assert "trained on: first model (" in said
    assert "held out (test): held out" in said
    assert "packed to train on, no model yet: packed" in said
    assert "unknown: purged" in said
    plain = json.loads(json.dumps(found.plain()))
    assert {r["subject"]: r["documents"]["train"] for r in plain["revisions"]} == {
        "purged": 0, "held out": 0, "first model": 1, "packed": 1,
    }  # fmt: skip
    with pytest.raises(UserError, match="3 of 4 revisions in git could be checked"):
        trace(past, "x.txt")


def test_a_document_that_only_the_incumbent_knows_is_told(past: Path) -> None:
    known = [document_id(source) for source in ("gone.txt", "b.txt")]
    write_table(pa.table([known, ["1", "2"]], schema=TRAINED_DOCUMENTS), past / PROMOTED / "documents.parquet")
    found = trace(past, "gone.txt")
    assert found.incumbent == found.plain()["incumbent"] == 1
    assert "the last promoted model (data/promoted/model/incumbent) was trained on it" in "\n".join(lines_of(found))
    with pytest.raises(UserError, match="nowhere"):
        trace(past, "nowhere.txt")


def test_a_repository_below_gits_root(past: Path) -> None:
    below = past / "project"
    below.mkdir()
    (below / "dvc.lock").write_text(TRAINED.format("1" * 32 + ".dir"))
    git(past, "add", "project")
    git(past, "commit", "-qm", "below")
    assert [revision.subject for revision in revisions(below)] == ["below"]


def commit_of(root: Path, revision: str) -> str:
    return subprocess.run(
        ["git", "rev-parse", revision], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_builds_up_to_the_end_of_the_projects_own_are_no_revisions(past: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are the anchor and its ancestor; a branch that left before it stays, as what came after it does."""
    git(past, "checkout", "-q", "-b", "early", "side~3")
    commit(past, TRAINED.format("2" * 32 + ".dir"), "a branch from before")
    git(past, "checkout", "-q", "main")
    before = [revision.subject for revision in revisions(past)]
    assert set(before) == {"packed", "first model", "held out", "purged", "a branch from before"}
    monkeypatch.setattr(git_revisions, "END_OF_OWN_BUILDS", commit_of(past, "v1"))
    assert [revision.subject for revision in revisions(past)] == [
        name for name in before if name not in ("packed", "first model")
    ]
    assert len(trace(past, "a.txt").holdings) == len(before) - 2
    # history that lacks the anchor: nothing is hidden
    monkeypatch.setattr(git_revisions, "END_OF_OWN_BUILDS", "f" * 40)
    assert [revision.subject for revision in revisions(past)] == before


@pytest.mark.slow
def test_a_clone_of_this_project_knows_no_build_but_its_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six builds of the demo are in this project's history; whoever clones it sees only the build that they commit."""
    known = (
        subprocess.run(
            ["git", "cat-file", "-e", git_revisions.END_OF_OWN_BUILDS], cwd=ROOT, capture_output=True
        ).returncode
        == 0
    )
    if not known:
        pytest.skip("this copy has no git history, or a shallow one")
    clone = tmp_path / "clone"
    clone.mkdir()
    git(clone, "init", "-q", "-b", "main")
    git(clone, "fetch", "-q", str(ROOT), "HEAD")
    # not at HEAD, where this copy's user may have built
    git(clone, "checkout", "-q", "-B", "main", git_revisions.END_OF_OWN_BUILDS)
    assert revisions(clone) == []
    commit(clone, TRAINED.format("1" * 32 + ".dir"), "my first model")
    assert [revision.subject for revision in revisions(clone)] == ["my first model"]
    monkeypatch.setattr(git_revisions, "END_OF_OWN_BUILDS", "f" * 40)
    assert len(revisions(clone)) == 7


def test_git_that_holds_sources_is_noticed(past: Path) -> None:
    folder = Path("data/sources")
    assert not in_git(past, folder)
    (past / folder).mkdir(parents=True)
    (past / folder / "a.txt").write_text("a")
    git(past, "add", "data/sources/a.txt")
    git(past, "commit", "-qm", "by mistake")
    git(past, "rm", "-q", "data/sources/a.txt")
    git(past, "commit", "-qm", "too late")
    assert in_git(past, folder)


def test_without_git_there_are_no_revisions(tmp_path: Path) -> None:
    assert revisions(tmp_path) == []
    assert rows_of(tmp_path, ["ab" * 16], ["id"]) == {}


def test_the_command(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    (root / "dvc.yaml").touch()
    plain = CliRunner().invoke(app, ["trace", "a.txt", "--json"])
    assert plain.exit_code == 0
    assert json.loads(plain.stdout)["documents"][0]["pack"]["split"] == "train"
    assert "train" in CliRunner().invoke(app, ["trace", document_id("a.txt")]).stdout
    assert CliRunner().invoke(app, ["trace", "nowhere.txt"]).exit_code == 1
