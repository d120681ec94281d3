"""The masking of a row's tokens: whole words or single tokens, at random, by part of speech, or phrase by phrase.

A *unit* is what is masked together: a token, a word (see `word_units`), or an annotated span (an entity or a phrase, see
`tokens.token_annotations`). A word of more than an eighth of the budget counts as several, and so does a span of more
than the spans' budget, so that no row is hidden whole. Units are drawn without replacement, each with its weight
(Efraimidis & Spirakis 2006), until the row's budget is spent. Of the chosen tokens 80 % become <|mask|>, 10 % a random
token, 10 % stay, all three to be guessed (Devlin et al. 2018); whole words as in their later release, spans as in Joshi
et al. 2020 (SpanBERT).
Boundaries between documents are never chosen.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from privllm.core.params import require
from privllm.core.records import POS_TAGS
from privllm.core.special_tokens import SpecialIds
from privllm.models.word_units import Lexicon, units_of

MASKED_SHARE, RANDOM_SHARE = 0.8, 0.1
WORDS_IN_BUDGET = 8  # at least, where words are long
LONGEST_WORD = 8  # tokens of a word that is masked together even where the budget is small


@dataclass
class MaskingConfig:
    rate: float = 0.3  # share of a row's tokens that are masked, (0, 0.9]
    whole_words: bool = True  # a word's tokens are masked together
    # share of the budget that goes to annotated entities and phrases first, where there are any, [0, 1]
    spans: float = 0.0
    weights_by_pos: dict[str, float] = field(default_factory=dict)  # e.g. {NOUN: 2.0}: how much likelier than 1; > 0

    def __post_init__(self) -> None:
        require(0 < self.rate <= 0.9, "masking.rate", "above 0 and at most 0.9")
        require(0 <= self.spans <= 1, "masking.spans", "between 0 and 1")
        require(
            set(self.weights_by_pos) <= set(POS_TAGS), "masking.weights_by_pos", f"a mapping of {', '.join(POS_TAGS)}"
        )
        require(all(weight > 0 for weight in self.weights_by_pos.values()), "masking.weights_by_pos", "above 0")


def choose(
    cfg: MaskingConfig,
    tokens: np.ndarray,
    lexicon: Lexicon,
    pos: np.ndarray,
    span: np.ndarray,
    special: SpecialIds,
    chance: np.random.Generator,
) -> np.ndarray:
    """Return which tokens of a row are to be guessed: bool [T].

    `pos` are indices into POS_TAGS, `span` numbers spans from 0, -1 outside.
    """
    budget = max(1, round(cfg.rate * len(tokens)))
    is_chosen = np.zeros(len(tokens), bool)
    is_text = ~np.isin(tokens, (special.begin, special.end))
    if cfg.spans:
        span_budget = round(cfg.spans * budget)
        span_units = _cut(np.where(is_text, span, -1), max(1, span_budget))
        _choose_units(is_chosen, span_units, np.ones(len(tokens)), span_budget, chance)
    units = np.arange(len(tokens))
    if cfg.whole_words:
        units = units_of(lexicon, tokens, max(LONGEST_WORD, budget // WORDS_IN_BUDGET))
    units = np.where(is_text & ~is_chosen, units, -1)
    weights_by_tag = np.array([cfg.weights_by_pos.get(tag, 1.0) for tag in POS_TAGS])
    _choose_units(is_chosen, units, weights_by_tag[pos], budget - int(is_chosen.sum()), chance)
    return is_chosen


def _cut(unit_of: np.ndarray, longest: int) -> np.ndarray:
    """Return units anew, those of more than `longest` tokens cut: int64 [T], -1 for none.

    The tokens of a unit need not be adjacent: white space within a span lies in none.
    """
    _, numbers = np.unique(unit_of, return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    first_place = np.searchsorted(numbers[order], numbers)
    place_in_unit = np.empty(len(unit_of), np.int64)
    place_in_unit[order] = np.arange(len(unit_of))
    part = (place_in_unit - first_place) // longest
    return np.where(unit_of >= 0, numbers * len(unit_of) + part, -1)


def _choose_units(
    is_chosen: np.ndarray,
    unit_of: np.ndarray,
    weights: np.ndarray,
    budget: int,
    chance: np.random.Generator,
) -> None:
    """Mark tokens of random units in `is_chosen` until `budget` of them are, or just more.

    `unit_of` is the unit of each token, -1 for none; a unit has the weight of its first token.
    """
    in_unit = unit_of >= 0
    units, first, sizes = np.unique(unit_of[in_unit], return_index=True, return_counts=True)
    if budget <= 0 or not len(units):
        return
    keys = chance.exponential(size=len(units)) / weights[in_unit][first]
    order = np.argsort(keys, kind="stable")
    tokens_so_far = np.cumsum(sizes[order])
    count = int(np.searchsorted(tokens_so_far, budget)) + 1
    is_chosen |= np.isin(unit_of, units[order[:count]])


def cover(tokens: np.ndarray, is_chosen: np.ndarray, special: SpecialIds, chance: np.random.Generator) -> np.ndarray:
    """Return the model's input (int64 [T]): the chosen tokens masked, replaced by any that is text, or unchanged."""
    text_ids = _text_ids(special)
    lot = chance.random(len(tokens))
    random_tokens = text_ids[chance.integers(0, len(text_ids), len(tokens))]
    is_masked = is_chosen & (lot < MASKED_SHARE)
    is_random = is_chosen & (lot >= MASKED_SHARE) & (lot < MASKED_SHARE + RANDOM_SHARE)
    inputs = np.where(is_masked, special.required_mask, tokens)
    return np.where(is_random, random_tokens, inputs).astype(np.int64)


@lru_cache(1)
def _text_ids(special: SpecialIds) -> np.ndarray:
    """Return the ids of a vocabulary that are text: int64, ascending."""
    return np.setdiff1d(np.arange(special.size), special.special)
