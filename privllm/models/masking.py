"""The masking of a row's tokens: whole words or single tokens, at random, by part of speech, or phrase by phrase.

A *unit* is what is masked together: a token, a word, or an annotated span (an entity or a phrase, see
`tokens.token_annotations`). Units are drawn without replacement, each with its weight (Efraimidis & Spirakis 2006),
until the row's budget is spent. Of the chosen tokens 80 % become <|mask|>, 10 % a random token, 10 % stay, all three
to be guessed (Devlin et al. 2018); whole words as in their later release, spans as in Joshi et al. 2020 (SpanBERT).
Boundaries between documents are never chosen.
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


class Lexicon:
    """Which tokens continue the word of the token before them, derived from their letters.

    `vocabulary` maps a byte-level token's name to its id. Letters continue letters and digits continue digits; a byte
    of a character beyond ASCII counts as a letter, so that no character is cut.
    """

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self.size = max(vocabulary.values()) + 1
        self.first = np.zeros(self.size, np.int8)  # kind of a token's first character
        self.last = np.zeros(self.size, np.int8)
        for name, index in vocabulary.items():
            if index >= SPECIALS:
                self.first[index] = _kind(name[0])
                self.last[index] = _kind(name[-1])

    def goes_on(self, tokens: np.ndarray) -> np.ndarray:
        """Return for each token (int [T]) whether it continues the word of the one before: bool [T]."""
        first_kinds = self.first[tokens[1:]]
        last_kinds = self.last[tokens[:-1]]
        continues = (first_kinds == last_kinds) & (first_kinds != OTHER)
        return np.concatenate([[False], continues])


def _kind(character: str) -> int:
    if not character.isascii():
        # Byte-level vocabularies write space, newline, tab and return so.
        return OTHER if character in "ĠĊĉč" else LETTER
    if character.isalpha():
        return LETTER
    return DIGIT if character.isdigit() else OTHER


def choose(
    cfg: MaskingConfig,
    tokens: np.ndarray,
    lexicon: Lexicon,
    pos: np.ndarray,
    span: np.ndarray,
    chance: np.random.Generator,
) -> np.ndarray:
    """Return which tokens of a row are to be guessed: bool [T].

    `pos` are indices into POS_TAGS, `span` numbers spans from 0, -1 outside.
    """
    budget = max(1, round(cfg.rate * len(tokens)))
    is_chosen = np.zeros(len(tokens), bool)
    is_text = tokens != END_OF_TEXT
    if cfg.spans:
        span_units = np.where(is_text, span, -1)
        span_budget = round(cfg.spans * budget)
        _choose_units(is_chosen, span_units, np.ones(len(tokens)), span_budget, chance)
    starts_unit = ~lexicon.goes_on(tokens) if cfg.whole_words else np.ones(len(tokens), bool)
    units = np.where(is_text & ~is_chosen, np.cumsum(starts_unit) - 1, -1)
    weights_by_tag = np.array([cfg.weights_by_pos.get(tag, 1.0) for tag in POS_TAGS])
    _choose_units(is_chosen, units, weights_by_tag[pos], budget - int(is_chosen.sum()), chance)
    return is_chosen


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


def cover(tokens: np.ndarray, is_chosen: np.ndarray, vocabulary: int, chance: np.random.Generator) -> np.ndarray:
    """Return the model's input (int64 [T]): the chosen tokens masked, replaced at random, or unchanged."""
    lot = chance.random(len(tokens))
    random_tokens = chance.integers(SPECIALS, vocabulary, len(tokens))
    is_masked = is_chosen & (lot < MASKED_SHARE)
    is_random = is_chosen & (lot >= MASKED_SHARE) & (lot < MASKED_SHARE + RANDOM_SHARE)
    inputs = np.where(is_masked, MASK, tokens)
    return np.where(is_random, random_tokens, inputs).astype(np.int64)
