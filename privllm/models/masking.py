"""Which tokens of a row are masked: whole words or single tokens, by chance, by part of speech, or phrase by phrase.

A *unit* is what is masked together: a token, a word, or an annotated span (an entity or a phrase, see `tokens.token_annotations`). Units
are drawn without replacement, each with its weight (Efraimidis & Spirakis 2006), until the row's budget is spent. Of the chosen tokens 80
% become <|mask|>, 10 % a random token, 10 % stay, all three to be guessed (Devlin et al. 2018); whole words as in their later release,
spans as in Joshi et al. 2020 (SpanBERT). Boundaries between documents are never chosen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from privllm.core.params import require
from privllm.core.records import POS_TAGS
from privllm.core.special_tokens import END_OF_TEXT, MASK, SPECIAL_TOKENS

MASKED_SHARE, RANDOM_SHARE = 0.8, 0.1
SPECIALS = len(SPECIAL_TOKENS)  # ids below are not text, and never put into one by chance
LETTER, DIGIT, OTHER = 1, 2, 0


@dataclass
class MaskingConfig:
    rate: float = 0.3  # share of a row's tokens that are masked, (0, 0.9]
    whole_words: bool = True  # a word's tokens are masked together
    spans: float = 0.0  # share of the budget that goes to annotated entities and phrases first, where there are any, [0, 1]
    weights_by_pos: dict[str, float] = field(default_factory=dict)  # e.g. {NOUN: 2.0}: how much likelier than 1; > 0

    def __post_init__(self) -> None:
        require(0 < self.rate <= 0.9, "masking.rate", "above 0 and at most 0.9")
        require(0 <= self.spans <= 1, "masking.spans", "between 0 and 1")
        require(set(self.weights_by_pos) <= set(POS_TAGS), "masking.weights_by_pos", f"a mapping of {', '.join(POS_TAGS)}")
        require(all(weight > 0 for weight in self.weights_by_pos.values()), "masking.weights_by_pos", "above 0")


class Lexicon:
    """Whether a token goes on with the word of the token before it, told from their letters.

    `vocabulary` maps a byte-level token's name to its id. Letters go on with letters and digits with digits; a byte of a
    character beyond ASCII counts as a letter, so that no character is cut.
    """

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self.size = max(vocabulary.values()) + 1
        self.first, self.last = (np.zeros(self.size, np.int8) for _ in range(2))
        for name, index in vocabulary.items():
            if index >= SPECIALS:
                self.first[index], self.last[index] = _kind(name[0]), _kind(name[-1])

    def goes_on(self, tokens: np.ndarray) -> np.ndarray:
        """For each token (int [T]) whether it continues the word of the one before: bool [T]."""
        kinds, before = self.first[tokens[1:]], self.last[tokens[:-1]]
        return np.concatenate([[False], (kinds == before) & (kinds != OTHER)])


def _kind(character: str) -> int:
    if character.isascii():
        return LETTER if character.isalpha() else DIGIT if character.isdigit() else OTHER
    return OTHER if character in "ĠĊĉč" else LETTER  # how byte-level vocabularies write space, newline, tab and return


def choose(
    cfg: MaskingConfig, tokens: np.ndarray, lexicon: Lexicon, pos: np.ndarray, span: np.ndarray, chance: np.random.Generator
) -> np.ndarray:
    """Which tokens of a row are to be guessed: bool [T]. `pos` are indices into POS_TAGS, `span` numbers spans from 0, -1 outside."""
    budget = max(1, round(cfg.rate * len(tokens)))
    chosen = np.zeros(len(tokens), bool)
    allowed = tokens != END_OF_TEXT
    if cfg.spans:
        _draw(chosen, np.where(allowed, span, -1), np.ones(len(tokens)), round(cfg.spans * budget), chance)
    starts = ~lexicon.goes_on(tokens) if cfg.whole_words else np.ones(len(tokens), bool)
    unit = np.where(allowed & ~chosen, np.cumsum(starts) - 1, -1)
    table = np.array([cfg.weights_by_pos.get(tag, 1.0) for tag in POS_TAGS])
    _draw(chosen, unit, table[pos], budget - int(chosen.sum()), chance)
    return chosen


def _draw(chosen: np.ndarray, unit: np.ndarray, weights: np.ndarray, budget: int, chance: np.random.Generator) -> None:
    """Choose units (a token's unit, -1 for none) until `budget` tokens are, or just more. A unit weighs as its first token."""
    units, first, sizes = np.unique(unit[unit >= 0], return_index=True, return_counts=True)
    if budget <= 0 or not len(units):
        return
    keys = chance.exponential(size=len(units)) / weights[unit >= 0][first]
    order = np.argsort(keys, kind="stable")
    taken = order[: int(np.searchsorted(np.cumsum(sizes[order]), budget)) + 1]
    chosen |= np.isin(unit, units[taken])


def cover(tokens: np.ndarray, chosen: np.ndarray, vocabulary: int, chance: np.random.Generator) -> np.ndarray:
    """What the model sees (int64 [T]): the chosen tokens masked, replaced at random, or left."""
    lot = chance.random(len(tokens))
    seen = np.where(chosen & (lot < MASKED_SHARE), MASK, tokens)
    made_up = chance.integers(SPECIALS, vocabulary, len(tokens))
    return np.where(chosen & (lot >= MASKED_SHARE) & (lot < MASKED_SHARE + RANDOM_SHARE), made_up, seen).astype(np.int64)
