"""BLEU by hand; ROUGE-L against the definition; SQuAD's own examples of normalisation."""

import math
import random
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.stats.difference import LEAST_GROUPS
from privllm.stats.text_overlap import exact_match, normalise_answer, overlap, overlap_intervals, rouge_l, word_f1


def test_equal_texts_overlap_wholly() -> None:
    texts = ["the cat sat on the mat today", "another sentence of some length"]
    assert overlap(texts, texts) == {"bleu": 1.0, "chrf": 1.0}


def test_nothing_in_common() -> None:
    assert overlap(["aaa bbb ccc ddd"], ["eee fff ggg hhh"])["chrf"] == 0


def test_bleu_by_hand() -> None:
    # Precisions 5/6, 4/5, 3/4, 2/3; no brevity penalty (Papineni et al. 2002).
    expected = math.exp(sum(map(math.log, (5 / 6, 4 / 5, 3 / 4, 2 / 3))) / 4)
    assert overlap(["the cat sat on the rug"], ["the cat sat on the mat"])["bleu"] == pytest.approx(expected, abs=1e-6)


def test_short_output_is_penalised() -> None:
    assert overlap(["the cat sat on the"], ["the cat sat on the mat"])["bleu"] == pytest.approx(
        math.exp(1 - 6 / 5), abs=1e-6
    )


def subsequence(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    """The definition, word by word (Lin 2004; Cormen et al., 15.4)."""

    @cache
    def longest(i: int, j: int) -> int:
        if i == len(a) or j == len(b):
            return 0
        return 1 + longest(i + 1, j + 1) if a[i] == b[j] else max(longest(i + 1, j), longest(i, j + 1))

    return longest(0, 0)


WORDS = st.lists(st.sampled_from("abcd"), max_size=9).map(tuple)


@given(WORDS, WORDS)
def test_rouge_l_is_the_definition(a, b):
    common = subsequence(a, b)
    expected = 2 * common / (len(a) + len(b)) if a or b else 0.0
    assert rouge_l(" ".join(a), ", ".join(b)) == pytest.approx(expected)


def test_rouge_l_of_the_paper() -> None:
    """Lin 2004, section 3: with beta = 1 and reference "police killed the gunman" the two candidates score 3/4 and 2/4."""
    assert rouge_l("police kill the gunman", "police killed the gunman") == 0.75
    assert rouge_l("the gunman kill police", "police killed the gunman") == 0.5


def test_answers_are_compared_as_squad_does() -> None:
    assert normalise_answer("The  Quick-Brown fox, an animal.") == "quickbrown fox animal"
    assert exact_match("the Denver Broncos!", "Denver Broncos") == 1
    assert exact_match("Broncos", "Denver Broncos") == 0
    assert word_f1("Broncos of Denver", "the Denver Broncos") == pytest.approx(2 * (2 / 3) * 1 / (2 / 3 + 1))
    assert word_f1("cat cat", "cat dog") == 0.5
    assert (word_f1("", "the"), word_f1("", "cat")) == (1, 0)


def continuations(seed: int, count: int) -> tuple[list[str], list[str]]:
    """Texts, and what a model that errs in some more than in others would have written."""
    chance = random.Random(seed)
    words = [f"w{number}" for number in range(40)]
    written, expected = [], []
    for _ in range(count):
        text, error_rate = chance.choices(words, k=chance.randint(15, 40)), 0.8 * chance.random()
        expected.append(" ".join(text))
        written.append(" ".join(chance.choice(words) if chance.random() < error_rate else word for word in text))
    return written, expected


@pytest.mark.slow
def test_intervals_hold_the_scores_of_many_more_texts_as_often_as_they_say() -> None:
    """Of 200 samples of 16 texts, the default of `evaluate.continuations`."""
    written, expected = continuations(0, 1500)
    truth = overlap(written, expected)
    hits = {"bleu": 0, "chrf": 0}
    for seed in range(1, 201):
        sample = continuations(seed, 16)
        intervals = overlap_intervals(*sample)
        for name, value in overlap(*sample).items():
            low, high = intervals[f"{name}_interval"]
            assert low <= value <= high
            hits[name] += low <= truth[name] <= high
    assert min(hits.values()) >= 184  # 92 %: three standard errors below 95 would be 90


def test_too_few_texts_have_no_interval() -> None:
    assert overlap_intervals(*continuations(1, LEAST_GROUPS - 1)) == {"bleu_interval": None, "chrf_interval": None}
    assert None not in overlap_intervals(*continuations(1, LEAST_GROUPS)).values()
