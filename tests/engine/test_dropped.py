"""Nothing is left out in silence: a list that anything may open, and a line for each reason."""

import importlib
import json
import os
import random
from pathlib import Path

import pyarrow as pa
import pytest

from privllm.collect.recipe import CollectConfig, collect
from privllm.core.records import QUARANTINE
from privllm.core.tables import iterate_rows
from privllm.engine.dropped import print_dropped, write_list
from privllm.engine.extensions import NO_EXTENSIONS
from privllm.engine.store import NO_STORE
from tests.hostile import EVIL, FILE_NAME, WORDS, obeyed

ROWS = [
    ("b/2.pdf", "unsupported", ".pdf"),
    ("a/1.pdf", "unsupported", ".pdf"),
    ("c.txt", "binary", "NUL"),
    ("b/10.pdf", "unsupported", ".pdf"),
]


def table(rows: list[tuple[str, str, str]]) -> pa.Table:
    full = [
        {"source": source, "digest": "", "bytes": 0, "reason": reason, "detail": detail}
        for source, reason, detail in rows
    ]
    return pa.Table.from_pylist(full, QUARANTINE)


def test_the_list_is_in_order_whatever_order_the_rows_had(tmp_path: Path) -> None:
    for seed in range(3):
        write_list(table(random.Random(seed).sample(ROWS, len(ROWS))), tmp_path / "new" / f"{seed}.txt")
    assert (tmp_path / "new/0.txt").read_bytes() == (
        b"reason\tsource\tdetail\nbinary\tc.txt\tNUL\nunsupported\ta/1.pdf\t.pdf\nunsupported\tb/10.pdf\t.pdf\nunsupported\tb/2.pdf\t.pdf\n"
    )
    assert len({(tmp_path / "new" / f"{seed}.txt").read_bytes() for seed in range(3)}) == 1
    assert [path.name for path in sorted((tmp_path / "new").iterdir())] == ["0.txt", "1.txt", "2.txt"]


def test_a_long_list_is_whole(tmp_path: Path) -> None:
    write_list(table([(f"{i:05d}.pdf", "unsupported", "") for i in range(25_000)]), tmp_path / "list")
    lines = (tmp_path / "list").read_text("utf-8").splitlines()
    assert len(lines) == 25_001
    assert lines[1:] == sorted(lines[1:])


def test_each_reason_has_a_line_the_commonest_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_list(table(ROWS), tmp_path / "list")
    print_dropped("collect", tmp_path / "list", 1200, "files")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"collect left out 4 of 1,200 files; each of them, and why: {tmp_path / 'list'}"
    assert [line.split() for line in said[1:]] == [
        ["3", "unsupported", "a/1.pdf,", "b/10.pdf,", "..."],
        ["1", "binary", "c.txt"],
    ]


def test_nothing_left_out_is_nothing_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_list(table([]), tmp_path / "list")
    assert (tmp_path / "list").read_bytes() == b"reason\tsource\tdetail\n"
    print_dropped("collect", tmp_path / "list", 3, "files")
    assert capsys.readouterr().out == ""


def test_hostile_names_make_no_lines_and_no_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [word.encode("utf-8", "backslashreplace").decode() for word in (*WORDS, "\t", EVIL)]
    write_list(table([(f"a{name}b", "unsupported", f".p{name}df") for name in names]), tmp_path / "list")
    text = (tmp_path / "list").read_text("utf-8")
    assert not obeyed(text, lines=1 + len(names))
    assert {line.count("\t") for line in text.splitlines()} == {2}
    print_dropped("collect", tmp_path / "list", 99, "files")
    assert not obeyed(capsys.readouterr().out, lines=2)


def test_stages_list_and_tell_what_they_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On real files, one of which has a name that is no UTF-8 and would be obeyed."""
    monkeypatch.chdir(tmp_path)
    sources = tmp_path / "data/sources"
    sources.mkdir(parents=True)
    for name in ("scan.mp4", "report.mov", "fax.mp4", f"{FILE_NAME}.mp4"):
        (sources / name).write_bytes(b"%PDF-1.4")
    (sources / f"{FILE_NAME}.txt").write_text("Only three words.")
    (sources / "lines.jsonl").write_text('{"text": "Nor has this."}\n{broken\n')
    (tmp_path / "params.yaml").write_text("collect: {shard_bits: 1}\nclean: {profile: web}\n")
    for name, where in (("collect", "data/sources"), ("clean", "data/collect")):
        stage = importlib.import_module(f"stages.{name}")
        monkeypatch.setattr(stage, "extensions_of", lambda _: NO_EXTENSIONS)
        more = [False] if name == "collect" else []
        stage.main(Path(where), Path(f"data/{name}"), Path(f"reports/{name}.json"), *more, NO_STORE)
    said = capsys.readouterr().out
    assert not obeyed(said)
    lines = [" ".join(line.split()) for line in said.split("\n")]
    assert (
        "collect left out 5 of 7 files, and documents inside files; each of them, and why: data/collect/quarantine/quarantine.txt"
        in lines
    )
    assert lines[1].startswith(r"4 unsupported evil\x1b[2J")
    assert lines[1].endswith("fax.mp4, ...")
    assert lines[2] == "1 bad_json lines.jsonl#2"
    assert lines[3] == "clean found these languages: unknown 100.0%"
    assert lines[4] == "clean left out 2 of 2 documents; each of them, and why: data/clean/dropped/dropped.txt"
    for name, rows in (("collect/quarantine/quarantine.txt", 5), ("clean/dropped/dropped.txt", 2)):
        assert not obeyed((tmp_path / "data" / name).read_text("utf-8"), lines=1 + rows)
    assert json.loads((tmp_path / "reports/clean.json").read_text())["dropped"] == {"too_short": 2}


def test_the_list_says_what_the_table_says(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources/a.txt").write_text("words")
    for name in (b"caf\xe9.mp4", b"z.mp4", b"empty.md"):
        (tmp_path / "sources" / os.fsdecode(name)).write_bytes(b"")
    collect(CollectConfig(), tmp_path / "sources", tmp_path / "out")
    rows = [
        tuple(row[key] for key in ("reason", "source", "detail")) for row in iterate_rows(tmp_path / "out/quarantine")
    ]
    lines = (tmp_path / "out/quarantine/quarantine.txt").read_text("utf-8").splitlines()
    assert lines[1:] == sorted("\t".join(row) for row in rows)
    assert r"caf\xe9.mp4" in lines[2]
