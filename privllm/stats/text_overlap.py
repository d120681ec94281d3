"""Scores of a text against one reference: BLEU, chrF, ROUGE-L, exact match, word F1.

BLEU is Papineni et al. 2002 and chrF Popović 2015, both by sacrebleu (Post 2018) with its standard
settings (tokeniser 13a, exponential smoothing), as shares of 1. ROUGE-L is the F1 of the longest
common subsequence of words (Lin 2004); words are runs of letters and digits as in Google's
rouge-score, in any alphabet and without a stemmer. Exact match and F1 are SQuAD's (Rajpurkar et al.
2016).
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np
from sacrebleu.metrics import BLEU, CHRF

from privllm.stats.difference import LEAST_GROUPS
from privllm.stats.jackknife import half_width

_PUNCTUATION = str.maketrans("", "", string.punctuation)
MAX_WORDS = 1000  # at the beginning of a text that ROUGE-L compares: the work grows with their square


def overlap(written: Sequence[str], expected: Sequence[str]) -> dict[str, float]:
    """Return corpus BLEU and chrF of `written` against one reference each, in [0, 1]."""
    bleu = BLEU().corpus_score(list(written), [list(expected)]).score
    chrf = CHRF().corpus_score(list(written), [list(expected)]).score
    return {"bleu": round(bleu / 100, 6), "chrf": round(chrf / 100, 6)}


def overlap_intervals(written: Sequence[str], expected: Sequence[str]) -> dict[str, tuple[float, float] | None]:
    """Return the 95 % intervals of `overlap`, "bleu_interval" and "chrf_interval"; None for fewer texts than LEAST_GROUPS.

    A text is a group: both scores are functions of sums over texts (matches and lengths of n-grams), of which the jackknife
    leaves one out at a time.
    """
    intervals: dict[str, tuple[float, float] | None] = {}
    for name, metric in (("bleu_interval", BLEU()), ("chrf_interval", CHRF())):
        intervals[name] = _interval(metric, written, expected) if len(written) >= LEAST_GROUPS else None
    return intervals


def _interval(metric: BLEU | CHRF, written: Sequence[str], expected: Sequence[str]) -> tuple[float, float]:
    sums_by_text = np.array(metric._extract_corpus_statistics(list(written), [list(expected)]), float).T

    def score(sums: np.ndarray) -> np.ndarray:
        return np.array([metric._compute_score_from_stats(column.tolist()).score / 100 for column in sums.T])

    (value,) = score(sums_by_text.sum(axis=1, keepdims=True))
    reach = half_width(score, sums_by_text, [np.ones(len(written))])
    return round(max(0.0, value - reach), 6), round(min(1.0, value + reach), 6)


def rouge_l(written: str, expected: str) -> float:
    """Return the F1 of the longest common subsequence of words, in [0, 1]."""
    a, b = _words(written), _words(expected)
    return _f1(_common_subsequence(a, b), len(a), len(b))


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())[:MAX_WORDS]


def normalise_answer(text: str) -> str:
    """Return the text in lower case, without punctuation, articles and extra space, as SQuAD does."""
    without_punctuation = text.lower().translate(_PUNCTUATION)
    without_articles = re.sub(r"\b(a|an|the)\b", " ", without_punctuation)
    return " ".join(without_articles.split())


def exact_match(written: str, expected: str) -> float:
    """Return 1 for equal texts after SQuAD's normalisation, else 0."""
    return float(normalise_answer(written) == normalise_answer(expected))


def word_f1(written: str, expected: str) -> float:
    """Return the F1 of the two bags of words after SQuAD's normalisation, in [0, 1].

    Two texts without words are equal.
    """
    a, b = normalise_answer(written).split(), normalise_answer(expected).split()
    if not a or not b:
        return float(a == b)
    common = Counter(a) & Counter(b)
    return _f1(common.total(), len(a), len(b))


def _f1(common: int, size_a: int, size_b: int) -> float:
    """Return the F1 of two sequences, from their sizes and the size of what they have in common."""
    size = size_a + size_b
    return 2 * common / size if size else 0.0


def _common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, by dynamic programming.

    Only a row of the table is in memory.
    """
    row = [0] * (len(b) + 1)
    for word_a in a:
        diagonal = 0
        for column, word_b in enumerate(b, 1):
            above = row[column]
            if word_a == word_b:
                row[column] = diagonal + 1
            else:
                row[column] = max(above, row[column - 1])
            diagonal = above
    return row[-1]
