"""Drift: the laws of the index, its published reading, and what is kept of a corpus."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.errors import UserError
from privllm.core.records import COPIED_RUNS, DEDUPED
from privllm.core.report import write_json
from privllm.validate.drift import EDGES, MEASURES, OTHER, bins, chance, drift, histogram, psi, read_promoted, summarise
from privllm.validate.statistics import describe_documents

PAIRS = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)).filter(any), min_size=1, max_size=12)
DISTINCT = pytest.mark.parametrize("seed", range(3))


@pytest.fixture
def summary(document: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def of(numbers: range, **changes: Any) -> dict[str, Any]:
        return summarise(
            describe_documents(
                pa.Table.from_pylist([document(number, **changes) for number in numbers], DEDUPED),
                COPIED_RUNS.empty_table(),
            )
        )

    return of


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=12))
def test_a_corpus_against_itself_is_zero(counts: list[int]) -> None:
    assert psi([(count, count) for count in counts]) == 0


@given(PAIRS)
def test_index_is_symmetric_and_never_negative(pairs: list[tuple[int, int]]) -> None:
    assert psi(pairs) >= -1e-12
    assert psi(pairs) == pytest.approx(psi([(b, a) for a, b in pairs]))


def test_index_is_the_textbook_sum_for_large_counts() -> None:
    pairs = [(500_000, 300_000), (300_000, 300_000), (200_000, 400_000)]
    textbook = sum((p - q) * math.log(p / q) for p, q in ((0.5, 0.3), (0.3, 0.3), (0.2, 0.4)))
    assert psi(pairs) == pytest.approx(textbook, rel=1e-4)


def test_an_empty_bin_does_not_make_it_infinite() -> None:
    assert 0.25 < psi([(100, 0), (0, 100)]) < 20


def test_quantile_of_chance_is_that_of_the_chi_squared_tables() -> None:
    pairs = [(100, 50)] * 10  # n = 1,000, m = 500, nine degrees of freedom: the table says 27.877 at 0.999
    assert chance(pairs) == pytest.approx(27.877 * (1 / 1000 + 1 / 500), rel=1e-2)


@DISTINCT
def test_chance_covers_samples_of_one_population(seed: int) -> None:
    draw = random.Random(seed)
    above = 0
    for _ in range(300):
        sides = [histogram([draw.random() for _ in range(200)], EDGES["unique_words"]) for _ in range(2)]
        pairs = list(zip(*sides, strict=True))
        above += psi(pairs) > chance(pairs)
    assert above <= 4


@given(st.lists(st.floats(-1, 1e9, allow_nan=False), max_size=50))
def test_every_value_falls_into_one_bin(values: list[float]) -> None:
    for edges in EDGES.values():
        counts = histogram(values, edges)
        slow = [
            sum(low <= max(value, 0) < high for value in values)
            for low, high in zip(edges, [*edges[1:], math.inf], strict=True)
        ]
        assert counts == slow


def test_summary_survives_the_disk_and_its_drift_is_zero(
    summary: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    write_json(tmp_path / "statistics.json", summary(range(30)))
    drifts = drift(summary(range(30)), read_promoted(tmp_path / "statistics.json"))
    assert list(drifts) == list(MEASURES)
    assert all(values["psi"] == 0 for values in drifts.values())


def test_other_language_and_other_lengths_show(summary: Callable[..., dict[str, Any]]) -> None:
    changed = drift(summary(range(300), language="de", text="too short"), summary(range(300)))
    assert changed["language"]["psi"] > max(0.25, changed["language"]["chance"])
    assert changed["characters"]["psi"] > max(0.25, changed["characters"]["chance"])
    assert changed["placeholder_density"]["psi"] == 0


def test_many_folders_are_kept_by_size_and_the_rest_as_others(document: Callable[..., dict[str, Any]]) -> None:
    rows = [document(number, source=f"{number % 70:02d}/{number}.txt") for number in range(100)]
    folders = summarise(describe_documents(pa.Table.from_pylist(rows, DEDUPED), COPIED_RUNS.empty_table()))["folders"]
    assert len(folders) == 51
    assert folders["00"] == 2
    assert sum(folders.values()) == 100


def test_a_folder_that_one_side_does_not_list_may_be_among_its_others() -> None:
    ours, theirs = {"folders": {"a": 5, "b": 5}}, {"folders": {"a": 4, OTHER: 6}}
    assert bins(ours, theirs, "folder") == [(5, 4), (5, 6)]
    assert bins(ours, {"folders": {"a": 4, "c": 6}}, "folder") == [(5, 4), (5, 0), (0, 6)]


def test_nothing_promoted_means_no_drift(summary: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    write_json(tmp_path / "statistics.json", {})
    assert drift(summary(range(5)), read_promoted(tmp_path / "statistics.json")) == {}


@pytest.mark.parametrize("content", ["", "[1]", '{"documents": 3}', "nonsense", '"text"'])
def test_anything_else_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "statistics.json").write_text(content)
    with pytest.raises(UserError, match=r"statistics\.json"):
        read_promoted(tmp_path / "statistics.json")


def test_bins_of_another_version_are_refused(summary: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    old = json.loads(json.dumps(summary(range(5))))
    old["histograms"]["characters"]["edges"][1] = 100
    write_json(tmp_path / "statistics.json", old)
    with pytest.raises(UserError, match="bins of `characters`"):
        read_promoted(tmp_path / "statistics.json")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing"):
        read_promoted(tmp_path / "statistics.json")
