"""Scores of single documents: which both models scored, and the figures on these."""

import math
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import t as student

from privllm.core.tables import write_table
from privllm.stats.difference import LEAST_GROUPS
from privllm.stats.document_scores import compare_documents, read_scores


def scores(nats: dict[str, float]) -> pa.Table:
    """What evaluate's DOCUMENT_SCORES say of documents of equal length."""
    types = pa.schema(
        [
            *(("id", pa.string()), ("split", pa.string()), ("nats", pa.float64()), ("clean_nats", pa.float64())),
            *((name, pa.int64()) for name in ("tokens", "bytes", "correct", "clean_bytes")),
        ]
    )
    return pa.Table.from_pylist(
        [
            {"id": name, "split": "test", "nats": value, "tokens": 100, "bytes": 400, "correct": 50}
            | {"clean_nats": value / 2, "clean_bytes": 100}
            for name, value in nats.items()
        ],
        types,
    )


def some(documents: int, mean: float, seed: int = 0) -> dict[str, float]:
    chance = random.Random(seed)
    return {f"d{i:03}": mean + chance.gauss(0, 40) for i in range(documents)}


def test_of_documents_of_one_length_a_difference_is_students() -> None:
    """Of equal weights the jackknife is the standard error of a mean."""
    a, b = some(30, 300), {name: value + 3 for name, value in some(30, 300, seed=2).items()}
    _, figures = compare_documents(scores(a), scores(b))
    gaps = np.array([b[name] - a[name] for name in a]) / 100
    expected = student.interval(0.95, 29, gaps.mean(), gaps.std(ddof=1) / math.sqrt(30))
    assert figures["loss"].interval == pytest.approx(expected, abs=2e-6)
    assert figures["loss"].difference == pytest.approx(gaps.mean(), abs=1e-6)


def test_pairing_is_by_id_whatever_the_order() -> None:
    a, b = some(20, 300), some(20, 310)
    backwards = scores(dict(reversed(b.items())))
    assert compare_documents(scores(a), backwards) == compare_documents(scores(a), scores(b))


def test_few_documents_have_no_interval() -> None:
    for documents in (0, 1, LEAST_GROUPS - 1, LEAST_GROUPS):
        few = scores(dict(list(some(40, 290).items())[:documents]))
        overlap, differences = compare_documents(few, scores(some(40, 300)))
        assert overlap.common == documents
        assert [measured.interval is None for measured in differences.values()] == (
            [documents < LEAST_GROUPS] * 5 if documents else []
        )


def test_what_both_scored_is_counted_and_what_is_empty_is_left_out() -> None:
    a, b = scores(some(10, 300)), scores(some(12, 310))
    overlap, _ = compare_documents(a, b)
    assert overlap == (10, 0, 2, 0)
    assert not overlap.same
    assert compare_documents(b, a)[0] == (10, 2, 0, 0)
    assert not compare_documents(b, a)[0].same
    assert compare_documents(a, a)[0].same
    other_bytes = a.set_column(a.column_names.index("bytes"), "bytes", pa.array([*[400] * 9, 401]))
    overlap, _ = compare_documents(a, other_bytes)
    assert overlap == (10, 0, 0, 1)
    assert not overlap.same
    for name, figure in (("tokens", "loss"), ("bytes", "bits_per_byte"), ("clean_bytes", "bits_per_byte_clean")):
        empty = a.set_column(a.column_names.index(name), name, pa.array([0, *a[name].to_pylist()[1:]]))
        assert compare_documents(empty, empty)[1][figure].a == compare_documents(a.slice(1), a.slice(1))[1][figure].a
        assert compare_documents(a, empty)[1][figure].a == compare_documents(a.slice(1), a.slice(1))[1][figure].a
    assert compare_documents(a, scores({"other": 1.0}))[1] == {}


def test_the_figures_are_those_of_the_sums() -> None:
    a, b = scores({"x": 100.0, "y": 300.0}), scores({"x": 90.0, "y": 280.0})
    figures = compare_documents(a, b)[1]
    assert {name: (figure.a, figure.b, figure.difference) for name, figure in figures.items()} == {
        "loss": (2.0, 1.85, -0.15),
        "perplexity": (round(math.exp(2), 6), round(math.exp(1.85), 6), round(math.exp(1.85) - math.exp(2), 6)),
        "bits_per_byte": (
            round(2 / math.log(2) / 4, 6),
            round(1.85 / math.log(2) / 4, 6),
            round(-0.15 / math.log(2) / 4, 6),
        ),
        "bits_per_byte_clean": (
            round(1 / math.log(2), 6),
            round(0.925 / math.log(2), 6),
            round(-0.075 / math.log(2), 6),
        ),
        "accuracy": (0.5, 0.5, 0.0),
    }
    assert math.isfinite(compare_documents(scores({"x": 1e9}), b)[1]["perplexity"].a)


def test_scores_that_cannot_be_used_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "documents.parquet"
    assert read_scores(path, "test") is None
    path.write_bytes(b"PAR1 spoilt")
    assert read_scores(path, "test") is None
    write_table(scores({"a": 1.0}).drop_columns(["bytes"]), path)
    assert read_scores(path, "test") is None
    write_table(scores({"a": 1.0}), path)
    table = read_scores(path, "test")
    assert table is not None
    expected = {
        "id": "a",
        "nats": 1.0,
        "tokens": 100,
        "bytes": 400,
        "correct": 50,
        "clean_nats": 0.5,
        "clean_bytes": 100,
    }
    assert table.to_pylist() == [expected]
    assert len(read_scores(path, "validation") or []) == 0
    monkeypatch.setattr("privllm.stats.document_scores.LARGEST", path.stat().st_size)
    assert read_scores(path, "test") is not None
    monkeypatch.setattr("privllm.stats.document_scores.LARGEST", path.stat().st_size - 1)
    assert read_scores(path, "test") is None
