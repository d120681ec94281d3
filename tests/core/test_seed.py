"""Names become numbers: purely, evenly, and without two names running together."""

from hypothesis import given
from hypothesis import strategies as st

from privllm.core.seed import digest, name_digest, seed_of, unit_interval


@given(st.lists(st.text(), min_size=1))
def test_pure_and_in_range(parts: list[str]) -> None:
    assert seed_of(*parts) == seed_of(*parts) < 2**63
    assert 0 <= unit_interval(*parts) < 1


def test_names_do_not_run_together() -> None:
    assert name_digest("ab", "c") != name_digest("a", "bc")


def test_published_value() -> None:
    """BLAKE2b-128 of nothing, as `b2sum -l 128` prints it."""
    assert digest(b"") == "cae66941d9efbd404e4d88758ea67670"


def test_evenly_spread() -> None:
    places = [unit_interval("sample", i) for i in range(10_000)]
    assert all(900 < sum(tenth / 10 <= p < (tenth + 1) / 10 for p in places) < 1100 for tenth in range(10))
