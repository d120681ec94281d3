import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.errors import UserError
from privllm.core.report import write_json
from privllm.core.seed import name_digest
from privllm.tokens.mixture import copies_of, read_weights, rounds_of, slices_of, weak_spots_of

IDS = [name_digest("document", i) for i in range(3000)]


def test_a_document_lies_in_one_slice_of_each_kind() -> None:
    assert [slices_of(source, 0)["source"] for source in ("a/b/c.txt", "c.txt", "a/x.jsonl#12")] == ["a", ".", "a"]
    lengths = [slices_of("", size)["length"] for size in (0, 1023, 1024, 4095, 16_384, 65_535, 65_536, 10**9)]
    assert lengths == ["0-1 kB", "0-1 kB", "1-4 kB", "1-4 kB", "16-64 kB", "16-64 kB", "64 kB-", "64 kB-"]


def test_what_promote_hands_on_gives_the_weights(tmp_path: Path) -> None:
    spot = {"kind": "source", "slice": "mail", "ratio": 1.25, "documents": 9}
    spots = [spot, {"kind": "length", "slice": "64 kB-", "ratio": 7.0}, {"kind": "pos", "slice": "NOUN", "ratio": 1.5}]
    write_json(tmp_path / "reports/evaluate/causal.json", {"loss": 1.0, "weak_spots": spots})
    write_json(
        tmp_path / "reports/evaluate/masked.json", {"weak_spots": [spot | {"ratio": 1.5}, spot | {"slice": "wiki"}]}
    )
    write_json(tmp_path / "reports/evaluate/seq2seq.json", {"weak_spots": []})
    write_json(tmp_path / "reports/feedback.json", {"weak_spots": [{"kind": "feedback", "slice": "valve"}]})
    spots_by_report = weak_spots_of(tmp_path / "reports")
    assert list(spots_by_report) == ["causal", "masked", "feedback"]
    write_json(tmp_path / "weak_spots.json", spots_by_report)
    assert read_weights(tmp_path / "weak_spots.json", 2.0) == {
        "source": {"mail": 1.5, "wiki": 1.25},
        "length": {"64 kB-": 2.0},
    }
    assert read_weights(tmp_path / "weak_spots.json", 1.0) == {}


def test_a_new_repository_has_no_weak_spots(tmp_path: Path) -> None:
    assert weak_spots_of(tmp_path) == {} == read_weights(Path("data/promoted/weak_spots.json"), 2.0)


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"causal": {"a": 1}}', '{"causal": [{"kind": "source", "slice": "a"}]}', '{"a": [1]}']
)
def test_a_file_that_holds_something_else_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "weak_spots.json").write_text(text)
    with pytest.raises(UserError, match=r"weak_spots\.json does not hold weak spots"):
        read_weights(tmp_path / "weak_spots.json", 2.0)


def test_weights_are_kept_on_average_and_the_rest_stays() -> None:
    sources = [("mail", "wiki")[i % 2] + "/x.txt" for i in range(len(IDS))]
    copies = copies_of({"source": {"mail": 2.3}}, IDS, sources, [10] * len(IDS))
    assert set(copies[1::2]) == {1}
    assert set(copies[::2]) == {2, 3}
    assert copies[::2].mean() == pytest.approx(2.3, abs=0.04)


@given(st.floats(1.01, 5), st.floats(0, 3))
def test_a_larger_weight_repeats_the_same_documents_and_more(weight: float, more: float) -> None:
    few, many = (
        copies_of({"length": {"0-1 kB": w}}, IDS[:200], ["a"] * 200, [10] * 200) for w in (weight, weight + more)
    )
    assert (few <= many).all()


def test_the_heavier_of_two_weak_spots_counts() -> None:
    weights = {"source": {"mail": 2.0}, "length": {"0-1 kB": 3.0, "1-4 kB": 1.5}}
    assert copies_of(weights, IDS[:3], ["mail/a", "mail/b", "c"], [10, 2000, 10**6]).tolist() == [3, 2, 1]


@given(st.lists(st.integers(1, 4), max_size=9))
def test_all_come_once_before_any_comes_again(copies: list[int]) -> None:
    rounds = rounds_of(np.array(copies, np.int64))
    order = [index for chosen in rounds for index in chosen.tolist()]
    assert len(rounds) == max([1, *copies])
    assert [order.count(i) for i in range(len(copies))] == copies
    turns = [order[:place].count(i) for place, i in enumerate(order)]
    assert list(zip(turns, order, strict=True)) == sorted(zip(turns, order, strict=True))


def test_the_promoted_file_is_json_in_the_house_style() -> None:
    assert json.loads(Path("data/promoted/weak_spots.json").read_text("utf-8")) == {}


@pytest.mark.parametrize(
    ("size", "name"),
    [
        *(
            (0, "0-1 kB"),
            (1_023, "0-1 kB"),
            (1_024, "1-4 kB"),
            (4_095, "1-4 kB"),
            (4_096, "4-16 kB"),
            (16_383, "4-16 kB"),
        ),
        *((16_384, "16-64 kB"), (65_535, "16-64 kB"), (65_536, "64 kB-")),
    ],
)
def test_lengths_end_where_their_names_say(size: int, name: str) -> None:
    assert slices_of("", size)["length"] == name


@pytest.mark.parametrize(
    ("ratio", "limit", "weight"),
    [
        (1.0, 2.0, None),
        (1.00004, 2.0, None),
        (1.0001, 2.0, 1.0001),
        (0.5, 2.0, None),
        (2.0, 2.0, 2.0),
        (2.1, 2.0, 2.0),
        (1.23456, 2.0, 1.2346),
    ],
)
def test_a_weight_is_above_one_and_at_most_the_limit(
    tmp_path: Path, ratio: float, limit: float, weight: float | None
) -> None:
    write_json(tmp_path / "w.json", {"causal": [{"kind": "source", "slice": "mail", "ratio": ratio}]})
    assert read_weights(tmp_path / "w.json", limit) == ({"source": {"mail": weight}} if weight else {})


@pytest.mark.parametrize(("weight", "copies"), [(1.0, {1}), (2.0, {2}), (1.5, {1, 2}), (2.0001, {2, 3})])
def test_whole_weights_leave_nothing_to_chance(weight: float, copies: set[int]) -> None:
    packed_copies = copies_of({"source": {"mail": weight}}, IDS, ["mail/x"] * len(IDS), [10] * len(IDS))
    assert set(packed_copies.tolist()) <= copies
    assert min(packed_copies) == int(weight)
    assert copies_of({}, IDS[:3], ["mail/x"] * 3, [10] * 3).tolist() == [1, 1, 1]


def test_which_documents_come_twice_a_hash_of_the_id_says() -> None:
    """Literals: another hash would repeat other documents, and train every model anew."""
    assert copies_of({"source": {"mail": 1.5}}, IDS[:12], ["mail/x"] * 12, [10] * 12).tolist() == [
        1,
        2,
        2,
        2,
        1,
        2,
        1,
        2,
        2,
        1,
        1,
        2,
    ]
