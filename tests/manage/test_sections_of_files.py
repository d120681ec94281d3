"""A section belongs to its file: trace, forget and status find it by the file's name and by its own."""

from pathlib import Path

import pyarrow as pa
import pytest

from privllm.clean.recipe import CleanConfig, clean
from privllm.collect.recipe import CollectConfig, collect
from privllm.core.errors import UserError
from privllm.core.records import CLUSTERS, document_id
from privllm.core.tables import read_folder, write_table
from privllm.manage.document_status import fates, located, sources_of
from privllm.manage.forget import source_reader
from privllm.manage.source_files import file_holding, is_below, present, select
from privllm.manage.trace import trace
from tests.clean.test_sections import book, prose

BOOK = book(chapters=6, paragraphs=5)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    sources = tmp_path / "data/sources"
    sources.mkdir(parents=True)
    (sources / "book.md").write_text(BOOK)
    (sources / "book.md.txt").write_text(prose(5, 60))
    (tmp_path / "params.yaml").write_text("collect: {shard_bits: 2}\nclean: {section_words: 200}\n")
    collect(CollectConfig(shard_bits=2), sources, tmp_path / "data/collect")
    clean(CleanConfig(section_words=200), tmp_path / "data/collect", tmp_path / "data/clean")
    return tmp_path


def sections(root: Path) -> list[str]:
    names = read_folder(root / "data/clean")["source"].to_pylist()
    return sorted(name for name in names if name.startswith("book.md#s:"))


def test_a_file_is_answered_for_with_its_sections(root: Path) -> None:
    names = sections(root)
    assert len(names) == 6
    for asked in ("book.md", document_id("book.md")):
        assert [fate.source for fate in trace(root, asked).documents] == names
    assert sorted(located(root, "").values()) == sorted([*names, "book.md.txt"])
    assert set(sources_of(root).values()) == {*names, "book.md", "book.md.txt"}


def test_a_section_is_found_by_name_and_id(root: Path) -> None:
    name = sections(root)[2]
    for asked in (name, document_id(name)):
        (fate,) = trace(root, asked).documents
        assert (fate.source, fate.id, fate.fate) == (name, document_id(name), "the build stops here")
        assert fate.clean is not None
        assert fate.clean["kept"]


def test_the_survivor_of_a_section_is_named(root: Path) -> None:
    one, other = (document_id(name) for name in sections(root)[:2])
    rows = [
        {"id": one, "digest": "1", "cluster": one, "kept": True, "reason": ""},
        {"id": other, "digest": "1", "cluster": one, "kept": False, "reason": "exact"},
    ]
    write_table(pa.Table.from_pylist(rows, CLUSTERS), root / "data/dedup/clusters/clusters.parquet")
    (fate,) = fates(root, {other: ""})
    assert fate.why == f"exact: {sections(root)[0]} stays"


def test_a_section_lies_below_its_file_alone(root: Path) -> None:
    name = sections(root)[0]
    sources = root / "data/sources"
    assert is_below(name, "book.md")
    assert is_below(name, "")
    assert not is_below(name, "book.md.txt")
    assert not is_below("book.md#s:short", "book.md")
    assert file_holding(name, sources) == sources / "book.md"
    assert present(sources, [name]) == {name}
    (sources / "book.md").unlink()
    assert present(sources, [name]) == set()


def test_a_section_is_not_forgotten_alone(root: Path) -> None:
    with pytest.raises(UserError, match=r"section of book\.md.*take the passage out of the file"):
        select(root / "data/sources", [sections(root)[0]])


def test_what_remains_explains_its_sections(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    ((_, texts),) = source_reader(root)(sections(root)[0])
    kept = read_folder(root / "data/clean")
    assert set(texts) >= {BOOK, *(row["text"] for row in kept.to_pylist() if row["source"].startswith("book.md#"))}
