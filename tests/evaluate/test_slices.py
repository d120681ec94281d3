import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.evaluate.scoring import ScoredDocument
from privllm.evaluate.slices import END, AnnotatedDocument, Tally, tally, total


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
    assert tally.figures("bits_per_byte") == {
        "tokens": 2,
        "loss": 5.545177,
        "perplexity": 256.0,
        "bits_per_byte": 4.0,
        "accuracy": 0.5,
    }


def test_figures_of_nothing_are_refused() -> None:
    with pytest.raises(AssertionError, match="without tokens"):
        Tally().figures("bits_per_byte")


def test_what_is_not_a_documents_own_token_is_found_out() -> None:
    document = AnnotatedDocument(
        "d",
        "mail/a.txt",
        "text/plain",
        size=6,
        tokens=np.array([1, 2, 3, 0]),
        sizes=np.array([1, 2, 3, 0]),
        pos=np.array(["NOUN", "VERB", "NOUN", END]),
        entities=np.array([*["outside"] * 3, END]),
        clean=np.array([True, False, True, True]),
    )
    numbers = {"nats": np.array([1.0, 2.0, 4.0]), "correct": np.array([True, False, True])}
    right = ScoredDocument("d", np.array([1, 2, 3]), np.array([2, 3, 0]), **numbers)
    cells = tally([document], {"d": right}, only_clean=False)
    assert vars(cells["all", "all"]["d"]) == {"tokens": 3, "bytes": 5, "nats": 7.0, "correct": 2}
    assert vars(cells["by_pos", "NOUN"]["d"]) == {"tokens": 1, "bytes": 3, "nats": 2.0, "correct": 0}
    assert vars(cells["by_pos", "VERB"]["d"]) == {"tokens": 1, "bytes": 2, "nats": 1.0, "correct": 1}
    assert vars(cells["by_pos", END]["d"]) == {"tokens": 1, "bytes": 0, "nats": 4.0, "correct": 1}
    assert set(cells) == {
        *(("all", "all"), ("by_media_type", "text/plain"), ("by_source", "mail"), ("by_length", "0-1 kB")),
        *(("by_pos", "NOUN"), ("by_pos", "VERB"), ("by_pos", END), ("by_entity", "outside"), ("by_entity", END)),
    }
    clean = tally([document], {"d": right}, only_clean=True)
    assert vars(clean["all", "all"]["d"]) == {"tokens": 2, "bytes": 3, "nats": 6.0, "correct": 1}
    assert ("by_pos", "VERB") not in clean
    nothing = document._replace(clean=np.zeros(4, bool))
    assert tally([nothing], {"d": right}, only_clean=True) == {}
    with pytest.raises(AssertionError, match="are not its tokens"):
        tally([document], {"d": right._replace(labels=np.array([3, 2, 0]))}, only_clean=False)


def test_figures_have_six_digits() -> None:
    figures = Tally(tokens=3, bytes=7, nats=1.0, correct=2).figures("pseudo_bits")
    assert figures == {
        "tokens": 3,
        "loss": 0.333333,
        "perplexity": 1.395612,
        "pseudo_bits": 0.206099,
        "accuracy": 0.666667,
    }
