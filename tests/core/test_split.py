"""The split is a pure function of the cluster: growth moves nothing, and shares come out about as asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.errors import UserError
from privllm.core.records import document_id, shard_of
from privllm.core.split import SPLITS, SplitConfig, split_of


def test_shares() -> None:
    cfg = SplitConfig(validation=0.1, test=0.2)
    found = [split_of(cfg, document_id(str(i))) for i in range(5000)]
    shares = {name: found.count(name) / len(found) for name in SPLITS}
    assert shares["test"] == pytest.approx(0.2, abs=0.02)
    assert shares["validation"] == pytest.approx(0.1, abs=0.02)


@given(st.text())
def test_a_larger_validation_share_never_moves_a_test_document(cluster: str) -> None:
    small, large = SplitConfig(validation=0.05, test=0.1), SplitConfig(validation=0.3, test=0.1)
    assert (split_of(small, cluster) == "test") == (split_of(large, cluster) == "test")


@pytest.mark.parametrize(
    ("place", "split"),
    [(0.0, "test"), (0.2499, "test"), (0.25, "validation"), (0.4999, "validation"), (0.5, "train"), (0.9999, "train")],
)
def test_shares_end_where_they_say(place: float, split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privllm.core.split.unit_interval", lambda *parts: place)
    assert split_of(SplitConfig(validation=0.25, test=0.25), "any") == split
    assert split_of(SplitConfig(validation=0, test=0), "any") == "train"


@pytest.mark.parametrize("wrong", [-0.1, 0.6])
def test_impossible_shares_are_refused(wrong: float) -> None:
    with pytest.raises(UserError, match=r"split\.test"):
        SplitConfig(test=wrong)


@given(st.text(), st.integers(0, 11))
def test_a_finer_sharding_only_divides(source: str, bits: int) -> None:
    identifier = document_id(source)
    assert shard_of(identifier, bits + 1) // 2 == shard_of(identifier, bits) < 2**bits
