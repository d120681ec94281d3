import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.evaluate.scoring import ScoredPiece
from privllm.evaluate.slices import AnnotatedDocument, Tally, bootstrap_interval, tally, total


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(0, 20), st.booleans()), min_size=2), st.data())
def test_parts_add_up_to_the_whole(tokens: list, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(tokens) - 1))
    whole, parts = Tally(), Tally()
    whole.add(*map(np.array, zip(*tokens, strict=True)))
    for part in (tokens[:cut], tokens[cut:]):
        parts.add(*map(np.array, zip(*part, strict=True)))
    assert (whole.tokens, whole.bytes, whole.correct) == (parts.tokens, parts.bytes, parts.correct)
    assert whole.nats == pytest.approx(parts.nats)
    assert total([whole, parts]).tokens == 2 * whole.tokens


def test_figures_of_a_uniform_guess() -> None:
    tally = Tally()
    tally.add(np.array([1, 3]), np.array([math.log(256)] * 2), np.array([True, False]))
    assert tally.figures() == {
        "tokens": 2,
        "loss": 5.545177,
        "perplexity": 256.0,
        "bits_per_byte": 4.0,
        "accuracy": 0.5,
    }


def test_interval_holds_the_mean_and_narrows_with_more_documents() -> None:
    generator = np.random.default_rng(0)
    nats, sizes = generator.gamma(9, 10, 400), np.full(400, 50)
    low, high = bootstrap_interval(nats, sizes, 300, 1)
    few_low, few_high = bootstrap_interval(nats[:20], sizes[:20], 300, 1)
    assert low < nats.sum() / math.log(2) / sizes.sum() < high
    assert high - low < few_high - few_low
    assert bootstrap_interval(nats, sizes, 300, 1) == [low, high]
    # The normal approximation gives the same width, to a tenth.
    assert high - low == pytest.approx(2 * 1.96 * nats.std() / 20 / math.log(2) / 50, rel=0.12)


def test_an_interval_by_listing_all_draws() -> None:
    """Of three documents there are 27 equally likely draws."""
    nats, sizes = np.array([10.0, 20.0, 60.0]), np.array([10, 10, 20])
    every = [
        nats[list(draw)].sum() / math.log(2) / sizes[list(draw)].sum() for draw in itertools.product(range(3), repeat=3)
    ]
    low, high = bootstrap_interval(nats, sizes, 20_000, 0)
    assert (low, high) == pytest.approx(tuple(np.quantile(every, [0.025, 0.975], method="inverted_cdf")), abs=1e-6)


def test_one_document_is_no_choice() -> None:
    low, high = bootstrap_interval(np.array([math.log(2) * 30]), np.array([10]), 50, 0)
    assert low == high == 3.0


def test_figures_of_nothing_are_refused() -> None:
    with pytest.raises(AssertionError, match="without tokens"):
        Tally().figures()


def test_what_is_not_a_documents_own_token_is_found_out() -> None:
    sizes = np.array([1, 1, 2, 3])
    document = AnnotatedDocument(
        "d",
        "mail/a.txt",
        "text/plain",
        np.array([1, 2, 3]),
        np.array(["NOUN", "VERB", "NOUN"]),
        np.array(["outside"] * 3),
    )
    numbers = {"nats": np.array([1.0, 2.0]), "correct": np.array([True, False])}
    right = ScoredPiece("d", np.array([1, 2]), np.array([2, 3]), **numbers)
    cells = tally([document], {"d": [right]}, sizes)
    assert vars(cells["all", "all"]["d"]) == {"tokens": 2, "bytes": 5, "nats": 3.0, "correct": 1}
    assert vars(cells["by_pos", "NOUN"]["d"]) == {"tokens": 1, "bytes": 3, "nats": 2.0, "correct": 0}
    assert vars(cells["by_pos", "VERB"]["d"]) == {"tokens": 1, "bytes": 2, "nats": 1.0, "correct": 1}
    assert set(cells) == {
        *(("all", "all"), ("by_media_type", "text/plain"), ("by_source", "mail"), ("by_length", "0-1 kB")),
        *(("by_pos", "NOUN"), ("by_pos", "VERB"), ("by_entity", "outside")),
    }
    with pytest.raises(AssertionError, match="are not its tokens"):
        tally([document], {"d": [right._replace(labels=np.array([3, 2]))]}, sizes)


def test_figures_have_six_digits() -> None:
    figures = Tally(tokens=3, bytes=7, nats=1.0, correct=2).figures()
    assert figures == {
        "tokens": 3,
        "loss": 0.333333,
        "perplexity": 1.395612,
        "bits_per_byte": 0.206099,
        "accuracy": 0.666667,
    }
