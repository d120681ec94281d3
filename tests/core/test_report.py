"""Reports: the same numbers give the same bytes, and what is lost on the way is noticed."""

import pytest

from privllm.core.report import add_up, balance, write_json


def test_bytes_do_not_depend_on_the_order_of_keys(tmp_path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": {"d": 2, "c": 3}})
    write_json(tmp_path / "b.json", {"a": {"c": 3, "d": 2}, "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_what_is_no_number_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})


def test_shards_add_up_and_losses_are_noticed() -> None:
    assert add_up([{"kept": 2}, {"kept": 1, "dropped": 4}]) == {"dropped": 4, "kept": 3}
    balance(7, 3, 4)
    with pytest.raises(AssertionError, match="7 documents entered"):
        balance(7, 3, 3)
