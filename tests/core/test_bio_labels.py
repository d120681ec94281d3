"""An I- without a beginning begins an entity, and reading twice changes nothing."""

from hypothesis import given
from hypothesis import strategies as st

from privllm.core.bio_labels import as_bio


@given(st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"])).map(tuple))
def test_reading_bio_twice_changes_nothing(labels: tuple[str, ...]) -> None:
    assert as_bio(as_bio(labels)) == as_bio(labels)
