"""How much two texts have in common: BLEU, chrF, ROUGE-L, exact match, word F1.

BLEU is Papineni et al. 2002 and chrF Popović 2015, both by sacrebleu (Post 2018) with its standard settings (tokeniser 13a,
exponential smoothing), as shares of 1. ROUGE-L is the F1 of the longest common subsequence of words (Lin 2004), words being runs of
letters and digits as in Google's rouge-score, of any alphabet and without a stemmer. Exact match and F1 are SQuAD's (Rajpurkar et al.
2016). One reference each.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

from sacrebleu.metrics import BLEU, CHRF

_PUNCTUATION = str.maketrans("", "", string.punctuation)
MAX_WORDS = 1000  # of a text, its first, are compared by ROUGE-L: the work grows with their square


def overlap(written: Sequence[str], expected: Sequence[str]) -> dict[str, float]:
    """Corpus BLEU and chrF of `written` against one reference each, in [0, 1]."""
    bleu = BLEU().corpus_score(list(written), [list(expected)]).score
    chrf = CHRF().corpus_score(list(written), [list(expected)]).score
    return {"bleu": round(bleu / 100, 6), "chrf": round(chrf / 100, 6)}


def rouge_l(written: str, expected: str) -> float:
    """F1 of the longest common subsequence of words, in [0, 1]."""
    a, b = (re.findall(r"[^\W_]+", text.lower())[:MAX_WORDS] for text in (written, expected))
    return _f1(_common_subsequence(a, b), len(a), len(b))


def normalise_answer(text: str) -> str:
    """SQuAD's: lower case, without punctuation, articles and extra white space."""
    words = re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION))
    return " ".join(words.split())


def exact_match(written: str, expected: str) -> float:
    return float(normalise_answer(written) == normalise_answer(expected))


def word_f1(written: str, expected: str) -> float:
    """F1 of the two bags of words after SQuAD's normalisation, in [0, 1]; two texts without words are equal."""
    a, b = normalise_answer(written).split(), normalise_answer(expected).split()
    if not a or not b:
        return float(a == b)
    return _f1(sum((Counter(a) & Counter(b)).values()), len(a), len(b))


def _f1(common: int, a: int, b: int) -> float:
    return 2 * common / (a + b) if a + b else 0.0


def _common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of the table at a time."""
    row = [0] * (len(b) + 1)
    for word in a:
        corner = 0
        for place, other in enumerate(b, 1):
            corner, row[place] = row[place], corner + 1 if word == other else max(row[place], row[place - 1])
    return row[-1]
