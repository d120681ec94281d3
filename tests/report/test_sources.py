"""What became of each source: counts against a plain sum, and examples of each reason."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privllm.core.records import CLEAN, CLUSTERS, DEDUPED, DOCUMENTS, DROPPED, QUARANTINE, document_id, section_source
from privllm.core.tables import write_table
from privllm.report.page import ReportInputs, render_report, show_size
from privllm.report.sources import EXAMPLES, MAX_SOURCES, OTHERS, SINGLE, STEPS, reasons, source_lines, source_of
from tests.hostile import EVIL, obeyed

NASTY = EVIL.replace("\udce9", "")  # names in tables are text

NAMES = st.sampled_from(
    ["a/1.html", "a/2.html", "a/deep/3.html", "b/inbox.mbox#7", "b/inbox.mbox#8", "4.txt", "5.jsonl#1", "5.jsonl#2"]
)
FATES = st.sampled_from(["quarantined", "dropped", "duplicate", "distinct"])


def build(root: Path, fates: dict[str, str], sections: int = 1) -> tuple[Path, Path, Path]:
    """Write the folders of a build in which each document has had its fate; those that are clean are cut into sections."""
    collect, clean, dedup = (root / name for name in ("collect", "clean", "dedup"))
    readable = [name for name, fate in fates.items() if fate != "quarantined"]
    unread = [name for name, fate in fates.items() if fate == "quarantined"]
    write(DOCUMENTS, [{"id": document_id(name), "source": name, "text": "ä" * 10} for name in readable], collect)
    rows = [{"source": name, "bytes": 7, "reason": "not_utf8", "detail": "byte 3"} for name in unread]
    write(QUARANTINE, rows, collect / "quarantine")
    dropped = [name for name in readable if fates[name] == "dropped"]
    told = {"reason": "too_short", "detail": "1 word", "text": "Of <EMAIL>."}
    write(DROPPED, [{"id": document_id(name), "source": name} | told for name in dropped], clean / "dropped")
    parts = {
        part: fates[name]
        for name in readable
        if fates[name] != "dropped"
        for part in ([name] if sections == 1 else [section_source(name, f"{i:016x}") for i in range(sections)])
    }
    write(CLEAN, [{"id": document_id(part), "source": part, "text": "clean"} for part in parts], clean)
    survivors = [part for part, fate in parts.items() if fate == "distinct"]
    write(DEDUPED, [{"id": document_id(part), "source": part, "text": "clean"} for part in survivors], dedup)
    like = document_id(survivors[0]) if survivors else ""
    clusters = [
        {"id": document_id(part), "cluster": like, "kept": False, "reason": "near"} if fate == "duplicate"
        else {"id": document_id(part), "cluster": document_id(part), "kept": True, "reason": ""}
        for part, fate in parts.items()
    ]  # fmt: skip
    write(CLUSTERS, clusters, dedup / "clusters")
    return collect, clean, dedup


def write(schema: pa.Schema, rows: list[dict], folder: Path) -> None:
    write_table(pa.Table.from_pylist(rows, schema), folder / "00000.parquet")


@given(fates=st.dictionaries(NAMES, FATES), sections=st.integers(1, 3))
@settings(max_examples=40)
def test_counts_are_those_of_the_documents(fates: dict[str, str], sections: int, tmp_path: Path) -> None:
    lines = source_lines(*build(tmp_path, fates, sections))
    past = {
        "found": set(FATES.elements),
        "readable": {"dropped", "duplicate", "distinct"},
        "clean": {"duplicate", "distinct"},
    }  # type: ignore[attr-defined]
    past["distinct"] = {"distinct"}
    for step in STEPS:
        assert sum(line.documents[step] for line in lines) == sum(fate in past[step] for fate in fates.values())
    of_a = [line for line in lines if line.name == "a/"]
    assert sum(line.documents["found"] for line in of_a) == sum(name.startswith("a/") for name in fates)
    found = sum(7 if fate == "quarantined" else 20 for fate in fates.values())
    assert sum(line.size["found"] for line in lines) == found
    left = list(fates.values()).count("distinct")
    assert sum(line.size["distinct"] for line in lines) == left * sections * len("clean")


@pytest.mark.parametrize(
    ("source", "name"),
    [("a/b.html", "a/"), ("a/b/c.zip#d/e.pdf", "a/"), ("inbox.mbox#x/report.pdf", "inbox.mbox"), ("a.txt", "a.txt")],
)
def test_a_source_is_the_uppermost_folder_or_a_file(source: str, name: str) -> None:
    assert source_of(source) == name


def test_single_files_and_small_sources_are_added_up(tmp_path: Path) -> None:
    fates = {f"folder{i}/{j}.txt": "distinct" for i in range(20) for j in range(20 - i)} | {
        "a.txt": "distinct",
        "b.txt": "dropped",
    }
    lines = source_lines(*build(tmp_path, fates))
    assert [line.name for line in lines][:2] == ["folder0/", "folder1/"]
    assert len(lines) == MAX_SOURCES + 1
    assert lines[-1].name == OTHERS
    assert sum(line.documents["found"] for line in lines) == len(fates)
    few = source_lines(*build(tmp_path / "few", {"a.txt": "distinct", "b.txt": "dropped", "c/d.txt": "distinct"}))
    assert [(line.name, line.documents["found"], line.documents["distinct"]) for line in few] == [
        (SINGLE, 2, 1),
        ("c/", 1, 1),
    ]


def test_each_reason_has_its_first_examples(tmp_path: Path) -> None:
    fates = {f"q/{i}.txt": "quarantined" for i in range(5)} | {
        "d.txt": "dropped",
        "k.txt": "distinct",
        "n.txt": "duplicate",
    }
    unread, dropped, near = reasons(*build(tmp_path, fates))
    assert (unread.name, unread.count, len(unread.examples)) == ("not utf8", 5, EXAMPLES)
    assert unread.examples[0] == ("q/0.txt", "byte 3")
    assert dropped.examples == [("d.txt", "1 word: Of <EMAIL>.")]
    assert near.examples == [("n.txt", "like k.txt")]
    assert unread.list.endswith("quarantine.txt")
    assert not near.list


def test_they_stand_on_the_page_and_hostile_names_do_nothing(tmp_path: Path) -> None:
    folders = build(tmp_path, {f"{NASTY}/a.txt": "quarantined", f"{NASTY}/b.txt": "dropped", "k.txt": "distinct"})
    render_report(ReportInputs(tmp_path, (), folders), tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text("utf-8")
    assert not obeyed(page)
    assert "What was left out, and why" in page
    assert "Of &lt;EMAIL&gt;." in page
    assert "<td>1</td><td>1</td><td>1</td><td>1</td><td>20 B</td><td>5 B</td>" in page


def test_sizes_are_shown_for_people() -> None:
    assert [show_size(size) for size in (0, 512, 999, 1234, 999_600, 5_670_000, 12e12)] == [
        "0 B", "512 B", "999 B", "1.23 kB", "1 MB", "5.67 MB", "1.2e+04 GB",
    ]  # fmt: skip
