"""Reports: the same numbers give the same bytes, and what is lost on the way is noticed."""

import json
from pathlib import Path

import pytest

from privllm.core.report import add_up, balance, write_json, write_json_lines, write_report, write_whole


def test_bytes_do_not_depend_on_the_order_of_keys(tmp_path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": {"d": 2, "c": 3}})
    write_json(tmp_path / "b.json", {"a": {"c": 3, "d": 2}, "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_what_is_no_number_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})


def test_a_report_stays_until_the_next_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "new/a.json", {"a": 1})
    before = (tmp_path / "new/a.json").read_text()
    write_text = Path.write_text

    def full_disk(path: Path, text: str, encoding: str) -> int:
        write_text(path, text[: len(text) // 2], encoding)
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_json(tmp_path / "new/a.json", {"a": 2})
    assert (tmp_path / "new/a.json").read_text() == before
    monkeypatch.undo()
    write_whole(tmp_path / "new/a.json", "after")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"], (
        "what was left half written is overwritten"
    )
    assert (tmp_path / "new/a.json").read_text() == "after"


def test_shards_add_up_and_losses_are_noticed() -> None:
    assert add_up([{"kept": 2}, {"kept": 1, "dropped": 4}]) == {"dropped": 4, "kept": 3}
    balance(7, 3, 4)
    with pytest.raises(AssertionError, match="7 documents entered"):
        balance(7, 3, 3)


def test_rows_become_lines_and_no_row_one_empty_line(tmp_path) -> None:
    """DVC warns of an empty file, once for every stage that depends on it."""
    write_json_lines(tmp_path / "some.jsonl", [{"a": "é"}, {"b": 1}])
    write_json_lines(tmp_path / "none.jsonl", [])
    assert (tmp_path / "some.jsonl").read_bytes() == '{"a": "é"}\n{"b": 1}\n'.encode()
    assert (tmp_path / "none.jsonl").read_bytes() == b"\n"


def test_a_report_has_no_empty_list(tmp_path) -> None:
    """DVC warns of one when it looks for what to plot."""
    figures = {"spots": [], "interval": [1, 2], "of": {"warnings": [], "none": {}, "count": 0}, "rows": [{"a": []}]}
    write_report(tmp_path / "r.json", figures)
    assert json.loads((tmp_path / "r.json").read_text()) == {
        "interval": [1, 2],
        "of": {"none": {}, "count": 0},
        "rows": [{"a": []}],
    }
