"""paired: an interval of two models' difference, on the documents that both scored."""

import math
import random

import numpy as np
import pyarrow as pa
import pytest

from privllm.core.paired import LEAST, paired


def scores(nats: dict[str, float]) -> pa.Table:
    """What evaluate's DOCUMENT_SCORES say of documents of equal length."""
    types = pa.schema([("id", pa.string()), ("nats", pa.float64()), *((name, pa.int64()) for name in ("tokens", "bytes", "correct"))])
    return pa.Table.from_pylist(
        [{"id": name, "nats": value, "tokens": 100, "bytes": 400, "correct": 50} for name, value in nats.items()], types
    )


def some(documents: int, mean: float, seed: int = 0) -> dict[str, float]:
    chance = random.Random(seed)
    return {f"d{i:03}": mean + chance.gauss(0, 40) for i in range(documents)}


def test_paired_is_an_obvious_loop() -> None:
    """Slow and plain: draw documents, take both figures of them, sort the differences."""
    a, b = some(30, 300), {name: value + 3 for name, value in some(30, 300, seed=2).items()}
    _, found = paired(scores(a), scores(b), draws=1500)
    chance, differences = random.Random(5), []
    for _ in range(1500):
        drawn = chance.choices(list(a), k=30)
        differences.append((sum(b[name] for name in drawn) - sum(a[name] for name in drawn)) / 3000)
    differences.sort()
    interval = found["loss"].interval
    assert interval is not None
    width = interval[1] - interval[0]
    assert interval == pytest.approx((differences[37], differences[1462]), abs=0.08 * width)
    gaps = np.array([b[name] - a[name] for name in a]) / 100
    normal = 1.96 * gaps.std() / math.sqrt(30)
    assert interval == pytest.approx((gaps.mean() - normal, gaps.mean() + normal), abs=0.08 * width)
    assert found["loss"].difference == pytest.approx(gaps.mean(), abs=1e-6)
    assert paired(scores(a), scores(b), draws=1500)[1] == found


def test_pairing_is_by_id_whatever_the_order() -> None:
    a, b = some(20, 300), some(20, 310)
    backwards = scores(dict(reversed(b.items())))
    assert paired(scores(a), backwards) == paired(scores(a), scores(b))


def test_few_documents_have_no_interval() -> None:
    for documents in (0, 1, LEAST - 1, LEAST):
        few = scores(dict(list(some(40, 290).items())[:documents]))
        overlap, found = paired(few, scores(some(40, 300)))
        assert overlap.common == documents
        assert [one.interval is None for one in found.values()] == ([documents < LEAST] * 4 if documents else [])
