"""The index believes a file to be what it was only while nothing can have been written to it."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.collect import file_index
from privllm.collect.file_index import FILES, STATUS, Listing, recall, save
from privllm.collect.files import survey
from privllm.engine.digests import TICK_NS, Status, md5_of
from tests.clock import newest, pass_tick, set_clock

Rows = dict[str, Status]
SMALL = st.integers(0, 2)
SAFE = 2  # a file of this time or later is not believed, by an index saved one tick after it
TIMES = st.one_of(SMALL, st.sampled_from([-1, 2**62, 2**63, 2**64 - 1]))  # among them some before 1970 and some to come
ROWS = st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(SMALL, TIMES, TIMES, SMALL))


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file, and an index beside its folder that was saved when it was no longer fresh."""
    (tmp_path / "sources").mkdir()
    path = tmp_path / "sources/a.txt"
    path.write_text("one")
    later = newest(path) + TICK_NS + 1
    set_clock(monkeypatch, file_index, lambda: later)
    keep(path)
    pass_tick(tmp_path)
    return path


def keep(path: Path) -> None:
    files = survey(path.parent, 1000).files
    save(path.parent.with_name("index"), files.append_column("md5", pa.array([md5_of(path)])))


def known(path: Path) -> list[str]:
    return recall(path.parent.with_name("index"), survey(path.parent, 1000).files).to_pylist()


def test_an_untouched_file_is_not_read_again(old: Path) -> None:
    assert known(old) == [md5_of(old)]


@pytest.mark.parametrize("change", ["same size, old time", "replaced", "touched", "longer", "renamed"])
def test_a_changed_file_is(old: Path, change: str) -> None:
    before = old.stat()
    if change == "replaced":
        (old.parent / "b").write_text("two")
        (old.parent / "b").replace(old)
    elif change == "touched":
        old.touch()
    elif change == "renamed":
        old = old.rename(old.with_name("b.txt"))
    else:
        old.write_text("two" if change == "same size, old time" else "three")
    os.utime(old, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known(old) == [""]


@pytest.mark.parametrize(("age", "believed"), [(0, False), (TICK_NS, False), (TICK_NS + 1, True)])
def test_nothing_is_believed_of_a_file_written_in_the_tick_of_saving(
    old: Path, monkeypatch: pytest.MonkeyPatch, age: int, believed: bool
) -> None:
    old.write_text("two")
    set_clock(monkeypatch, file_index, lambda: newest(old) + age)
    keep(old)
    assert known(old) == ([md5_of(old)] if believed else [""])


@pytest.mark.parametrize("spoil", ["cut", "json", "schema", "metadata", "gone"])
def test_a_spoilt_index_is_no_index(old: Path, spoil: str) -> None:
    index = old.parent.with_name("index")
    if spoil == "cut":
        index.write_bytes(index.read_bytes()[:-200])
    elif spoil == "json":
        index.write_text('{"saved": 1, "files": [')
    elif spoil == "schema":
        save(index, FILES.empty_table())
    elif spoil == "metadata":
        index.write_bytes(index.read_bytes().replace(b"saved", b"saVed"))
    else:
        index.unlink()
    assert known(old) == [""]


@given(ROWS, ROWS)
def test_what_is_remembered_is_what_was_equal(before: Rows, now: Rows) -> None:
    """Against a dictionary: the MD5 of those that are the same and older than the index."""
    with TemporaryDirectory() as folder:
        index = Path(folder, "index")
        md5 = [f"{place:032x}" for place in range(len(before))]
        with patch.object(file_index, "time_ns", lambda: SAFE + TICK_NS):
            save(index, table(before).append_column("md5", pa.array(md5, pa.string())))
        names = {
            row: name
            for row, name in zip(before.items(), md5, strict=True)
            if all(0 <= at < SAFE for at in row[1][1:3])
        }
        assert recall(index, table(now)).to_pylist() == [names.get(row, "") for row in now.items()]


@given(ROWS)
def test_a_listing_keeps_what_it_is_given(rows: Rows) -> None:
    columns = table(rows).to_pydict()
    assert list(columns) == FILES.names
    assert list(zip(*columns.values(), strict=True)) == [
        (name, *(value % 2**64 for value in status)) for name, status in rows.items()
    ]


def test_a_listing_of_very_many() -> None:
    rows = {f"{place:05d}": (place, 1, 2, 3) for place in range(10_000)}
    assert table(rows).to_pylist() == [
        {"source": name, **dict(zip(STATUS, status, strict=True))} for name, status in rows.items()
    ]


def table(rows: Rows) -> pa.Table:
    listing = Listing()
    for source, status in rows.items():
        listing.add(source, status)
    return listing.table()
