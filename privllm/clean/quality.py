"""Is a text worth learning from? Named rules over counts; the text itself is never changed.

After Gopher (Rae et al. 2021, table A1 and appendix A.1) and C4 (Raffel et al. 2020, section 2.2). Their thresholds
were set for web prose; the defaults here let reference documentation pass, which repeats itself, is full of
identifiers and comes in short pages. Where a default differs, the published figure stands beside it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from privllm.core.params import require

STOP_WORDS = frozenset("the be to of and that have with".split())  # Gopher's eight
BULLETS = ("•", "-", "*", "‣", "◦", "▪", "·", "–")
MAX_NGRAM_WORDS = 20_000  # of the beginning; the shares hardly move after that
JAVASCRIPT_WORDS = 100  # a text about JavaScript is longer than the notice that it is off
Ids = npt.NDArray[np.int64]


@dataclass
class QualityConfig:
    min_words: int = 20  # Gopher: 50
    max_words: int = 0  # 0: no limit. Gopher: 100,000
    min_mean_word_length: float = 2.5  # characters. Gopher: 3
    max_mean_word_length: float = 14.0  # characters. Gopher: 10
    min_stop_words: int = 2  # distinct ones, in English only. Gopher: 2
    max_symbol_ratio: float = 0.1  # "#" and ellipses per word. Gopher: 0.1
    max_bullet_lines: float = 0.95  # share of lines. Gopher: 0.9
    max_ellipsis_lines: float = 0.3  # share of lines. Gopher: 0.3
    min_alphabetic_words: float = 0.5  # share of words with a letter. Gopher: 0.8
    max_duplicate_lines: float = 0.6  # share of characters. Gopher: 0.2
    max_duplicate_paragraphs: float = 0.5  # share of characters. Gopher: 0.2
    max_top_ngram: list[float] = field_of(0.2, 0.18, 0.16)  # share of words in the commonest 2-, 3-, 4-gram, Gopher's
    max_duplicate_ngrams: float = 0.6  # share of words in a repeated 10-gram. Gopher: 0.10

