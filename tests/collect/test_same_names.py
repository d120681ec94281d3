"""A file that is called as what lies in another is refused while that is there, and read when it is gone."""

from pathlib import Path

import pytest

from privllm.collect import file_index, recipe
from privllm.collect.recipe import CollectConfig, collect
from privllm.core.tables import read_table
from privllm.engine.cache import Cache
from privllm.engine.digests import TICK_NS, Digests
from privllm.engine.store import NO_STORE, Store
from tests.clock import newest, pass_tick, set_clock
from tests.collect.readers.test_archive import zipped

CFG = CollectConfig(shard_bits=1)
TABLE = "id,text\nx.txt,row\ny.txt,another row\n"


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    monkeypatch.setattr(recipe, "SOURCES_INDEX", tmp_path / "sources.arrow")
    set_clock(monkeypatch, file_index, lambda: newest(*folder.iterdir()) + TICK_NS + 1)
    return folder


def built(sources: Path, store: Store = NO_STORE) -> tuple[dict[str, str], dict[str, str]]:
    """The text of each document and the reason of each refusal, by source."""
    out = sources.with_name("out" if store.cache else "clean")
    collect(CFG, sources, out, store)
    pass_tick(sources.parent)
    rows = [row for shard in sorted(out.glob("*.parquet")) for row in read_table(shard).to_pylist()]
    documents = {row["source"]: row["text"] for row in rows}
    assert len({row["id"] for row in rows}) == len(rows) == len(documents)
    refused = read_table(out / "quarantine" / "quarantine.parquet").to_pylist()
    return documents, {row["source"]: row["reason"] for row in refused}


def test_it_is_refused_by_name(sources: Path) -> None:
    (sources / "a.zip").write_bytes(zipped({"b.txt": b"in the archive"}))
    (sources / "a.zip#b.txt").write_text("beside it")
    (sources / "t.csv").write_text(TABLE)
    (sources / "t.csv#x.txt").write_text("beside the table")
    (sources / "C#.txt").write_text("a language")
    documents, refused = built(sources)
    rows = {"t.csv#x.txt": "row", "t.csv#y.txt": "another row"}
    assert documents == {"a.zip#b.txt": "in the archive", "C#.txt": "a language", **rows}
    assert refused == {"a.zip#b.txt": "same_name", "t.csv#x.txt": "same_name"}


@pytest.mark.parametrize("name", ["a.zip#b.txt", "a.zip#b.zip"])
def test_it_is_read_when_the_other_goes_and_comes(sources: Path, tmp_path: Path, name: str) -> None:
    inside = {"b.txt": b"in the archive", "b.zip#c.txt": b"there too"}
    is_text = name.endswith(".txt")
    beside = b"beside it" if is_text else zipped({"c.txt": b"beside it", "d.txt": b"never refused"})
    store = Store(Cache(tmp_path / "cache", ("copy",)), "code", Digests())
    (sources / name).write_bytes(beside)
    (sources / "other.txt").write_text("words")
    clashing = name if is_text else f"{name}#c.txt"
    for is_there in (False, True, True, False, True):
        (sources / "a.zip").unlink(missing_ok=True)
        if is_there:
            (sources / "a.zip").write_bytes(zipped(inside))
        documents, refused = built(sources, store)
        assert documents[clashing] == (inside[clashing.removeprefix("a.zip#")].decode() if is_there else "beside it")
        assert refused == ({clashing: "same_name"} if is_there else {})
        assert (documents, refused) == built(sources)


def test_two_documents_of_one_id_are_never_written(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "without_same_names", lambda seen: seen)
    (sources / "a.zip").write_bytes(zipped({"b.txt": b"in the archive"}))
    (sources / "a.zip#b.txt").write_text("beside it")
    with pytest.raises(AssertionError, match="two documents have one id"):
        built(sources)
