import math

import pytest

from privllm.evaluate.bleu import continuations, overlap
from privllm.evaluate.recipe import Inputs
from privllm.model.families import load


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
    assert overlap(["the cat sat on the"], ["the cat sat on the mat"])["bleu"] == pytest.approx(math.exp(1 - 6 / 5), abs=1e-6)


def test_continuations_pair_the_model_with_what_follows(inputs: Inputs) -> None:
    tokens = list(range(20, 50))
    made = continuations(load("causal", inputs.model), {"a": tokens, "b": tokens[:15]}, prompt=10, length=12)
    assert made["a"][1] == tokens[10:22]
    assert made["b"][1] == tokens[10:15]
    assert [len(made[name][0]) <= len(made[name][1]) for name in "ab"] == [True, True]
    assert made["a"][0][: len(made["b"][0])] == made["b"][0]
