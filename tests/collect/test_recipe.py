import hashlib
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from privllm.collect import read_jobs, shard_runs, shards
from privllm.collect.recipe import CollectConfig, collect
from privllm.core.errors import UserError
from privllm.core.records import DOCUMENTS, QUARANTINE, shard_of
from privllm.core.tables import iterate_rows, read_table, shards_of
from privllm.engine import executor as core_shards
from privllm.engine.cache import Cache
from privllm.engine.store import Store
from tests.pdf_files import column, joined, pdf_of, scanned


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.parquet"))
    }


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    (folder / "sub").mkdir(parents=True)
    for index in range(40):
        (folder / "sub" / f"page{index}.html").write_text(f"<p>page {index} {'word ' * index}</p>")
        (folder / f"note{index}.md").write_text(f"# note {index}")
    with (folder / "many.jsonl").open("w") as file:
        file.writelines(json.dumps({"text": f"line {index}"}) + "\n" for index in range(60))
        file.write('{"text": 1}\n')
    (folder / "latin.txt").write_bytes("une garçonnière naïve a été rénovée près d'un hôtel".encode("cp1252"))
    (folder / "photo.png").write_bytes(b"\x89PNG")
    (folder / "fake.txt").write_bytes(bytes(50))
    (folder / "blank.jsonl").write_text("\n \n")
    (folder / ".gitignore").write_text("*")
    return folder


def test_everything_is_counted_and_adds_up(sources: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = collect(CollectConfig(shard_bits=3), sources, out)
    assert report["quarantined"] == {"binary": 1, "empty": 1, "no_text": 1, "unsupported": 1}
    assert (report["files"], report["ignored"], report["documents"]) == (85, 1, 141)
    assert report["entries"] == report["documents"] + sum(report["quarantined"].values())
    rows = list(iterate_rows(out))
    assert (
        Counter(row["media_type"] for row in rows)
        == report["by_media_type"]
        == {"text/html": 40, "text/markdown": 40, "text/plain": 61}
    )
    assert Counter(row["encoding"] for row in rows) == report["by_encoding"]
    assert sum(len(row["text"]) for row in rows) == report["characters"]
    assert [row["source"] for row in iterate_rows(out / "quarantine")] == [
        "blank.jsonl",
        "fake.txt",
        "many.jsonl#61",
        "photo.png",
    ]
    json.dumps(report)


@pytest.mark.slow
def test_shards_hold_their_own_ids_in_order_and_all_of_them_exist(sources: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    collect(CollectConfig(shard_bits=9), sources, out)
    paths = shards_of(out)
    assert len(paths) == 512
    for index, path in enumerate(paths):
        table = read_table(path)
        ids = table["id"].to_pylist()
        assert table.schema == DOCUMENTS
        assert ids == sorted(set(ids))
        assert all(shard_of(identifier, 9) == index for identifier in ids)
    assert read_table(out / "quarantine" / "quarantine.parquet").schema == QUARANTINE
    assert not (out / ".partial").exists()


@pytest.mark.parametrize(("group_files", "run_rows"), [(1, 1), (7, 5), (1000, 3)])
def test_bytes_do_not_depend_on_how_the_work_was_cut(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group_files: int, run_rows: int
) -> None:
    collect(CollectConfig(shard_bits=2), sources, tmp_path / "once")
    monkeypatch.setattr(read_jobs, "GROUP_FILES", group_files)
    monkeypatch.setattr(shard_runs, "RUN_ROWS", run_rows)
    collect(CollectConfig(shard_bits=2), sources, tmp_path / "again")
    assert hashes(tmp_path / "again") == hashes(tmp_path / "once")


def test_processes_write_what_one_process_writes(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = CollectConfig(shard_bits=1)
    for index in range(3):
        (sources / f"big{index}.txt").write_text(f"{index} lines of text\n" * 60_000)
    with_processes = collect(cfg, sources, tmp_path / "processes")
    monkeypatch.setattr(core_shards, "available_cores", lambda: 1)
    assert collect(cfg, sources, tmp_path / "one") == with_processes
    assert hashes(tmp_path / "one") == hashes(tmp_path / "processes")


def test_a_changed_document_changes_its_own_shard_only(sources: Path, tmp_path: Path) -> None:
    collect(CollectConfig(), sources, tmp_path / "before")
    (sources / "note7.md").write_text("# another note 7")
    collect(CollectConfig(), sources, tmp_path / "after")
    before, after = hashes(tmp_path / "before"), hashes(tmp_path / "after")
    assert sum(before[name] != after[name] for name in before) == 1


def test_what_an_earlier_run_left_is_gone(sources: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    collect(CollectConfig(shard_bits=5), sources, out)
    (out / ".partial").mkdir()
    (out / ".partial" / "000000.00000.documents").write_bytes(b"half")
    collect(CollectConfig(shard_bits=2), sources, out)
    collect(CollectConfig(shard_bits=2), sources, tmp_path / "clean")
    assert hashes(out) == hashes(tmp_path / "clean")


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    with pytest.raises(UserError, match=r"holds no documents.*privllm demo"):
        collect(CollectConfig(), tmp_path / "sources", tmp_path / "out")
    with pytest.raises(UserError, match="is missing"):
        collect(CollectConfig(), tmp_path / "nowhere", tmp_path / "out")


def test_only_unreadable_files_says_why(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "a.mp4").write_bytes(b"video")
    (sources / "b.txt").write_bytes(bytes(99))
    with pytest.raises(UserError, match=r"none of the 2 entries.*1 binary, 1 unsupported.*a\.mp4"):
        collect(CollectConfig(), sources, tmp_path / "out")
    assert len(list(iterate_rows(tmp_path / "out" / "quarantine"))) == 2
    assert not (tmp_path / "out" / ".partial").exists()


def test_jsonl_without_text_says_which_key(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "a.jsonl").write_text('{"content": "words"}\n')
    with pytest.raises(UserError, match="under the key `text`"):
        collect(CollectConfig(), tmp_path / "sources", tmp_path / "out")


def test_hostile_files_pass_through(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "line.html").write_bytes(b"<p>" + b"x" * 5_000_000)
    (sources / "deep.html").write_bytes(b"<div>" * 200_000)
    (sources / "cut.html").write_bytes("<html><body><p>é".encode()[:-1])
    (sources / "meta.html").write_bytes(b"<meta " * 5000 + b"\xe9")
    (sources / os.fsdecode(b"caf\xe9.txt")).write_text("words")
    report = collect(CollectConfig(max_megabytes=5.1), sources, tmp_path / "out")
    assert report["documents"] == 5
    assert max(len(row["text"]) for row in iterate_rows(tmp_path / "out")) == 5_000_003


def test_a_file_over_the_limit_is_quarantined_unread(sources: Path, tmp_path: Path) -> None:
    (sources / "long.txt").write_bytes(b"x" * 20_000)
    report = collect(CollectConfig(max_megabytes=0.01), sources, tmp_path / "out")
    assert report["quarantined"]["too_large"] == 1


def test_scanned_pages_of_a_file_with_text_are_one_row_that_counts_them(tmp_path: Path) -> None:
    scan = scanned(pdf_of(column(["It was scanned."])), dpi=20)
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources/a.pdf").write_bytes(joined(pdf_of(column(["The harbour is deep."])), scan, scan))
    report = collect(CollectConfig(), tmp_path / "sources", tmp_path / "out")
    assert (report["documents"], report["quarantined"], report["scanned_pages"]) == (1, {"needs_ocr": 1}, 2)


def test_a_shard_too_big_for_arrow_is_the_users_to_mend(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "MAX_SHARD_BYTES", 1000)
    with pytest.raises(UserError, match=r"raise `collect\.shard_bits`"):
        collect(CollectConfig(shard_bits=0), sources, tmp_path / "out")


@pytest.mark.parametrize(
    "values", [{"shard_bits": -1}, {"shard_bits": 13}, {"max_megabytes": 0}, {"max_megabytes": 2000}]
)
def test_parameters_out_of_range_are_named(values: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"collect.{next(iter(values))}"):
        CollectConfig(**values)  # type: ignore[arg-type]


def test_another_key_is_another_text_of_the_same_line(tmp_path: Path) -> None:
    """The line's digest stays, so neither the last run's memory nor its shards may be taken over."""
    sources, out = tmp_path / "sources", tmp_path / "out"
    sources.mkdir()
    (sources / "a.jsonl").write_text('{"text": "this", "body": "that"}\n')
    cache = Cache(tmp_path / "cache")
    texts = []
    for text_key in ("text", "body", "text"):
        collect(CollectConfig(text_key=text_key), sources, out, Store(cache, "0"))
        texts += [row["text"] for row in iterate_rows(out)]
    assert texts == ["this", "that", "this"]


def test_without_a_text_the_message_names_the_key(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "a.jsonl").write_text('{"body": "that"}\n')
    with pytest.raises(UserError, match=r"under the key `story` \(collect.text_key\)"):
        collect(CollectConfig(text_key="story"), sources, tmp_path / "out")
