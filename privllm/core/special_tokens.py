"""Special tokens: those that our own vocabulary has, and the ids that any tokenizer gives to what they are for.

`tokens.vocabulary` learns a vocabulary with SPECIAL_TOKENS as its first ids. A base model keeps its own tokens and ids, so
code that handles ids asks `SpecialIds`, which `tokens.special_ids` reads from a tokenizer.
"""

from dataclasses import dataclass

SPECIAL_TOKENS = ("<|endoftext|>", "<|pad|>", "<|mask|>", "<|user|>", "<|assistant|>", "<|end|>")
END_OF_TEXT, PAD, MASK, USER, ASSISTANT, END_OF_TURN = range(len(SPECIAL_TOKENS))
TURN_MARKS = (USER, ASSISTANT, END_OF_TURN)

# One token for each kind of personal data that cleaning removes (ids 6 ... 12), so that a model
# spends one prediction on it. `clean.pii` also writes <SSN>, which is encoded as ordinary text.
PLACEHOLDER_KINDS = ("EMAIL", "PHONE", "IP", "CARD", "IBAN", "CREDENTIAL", "KEY")
PLACEHOLDERS = tuple(f"<{kind}>" for kind in PLACEHOLDER_KINDS)

SENTINELS = 100  # that stand for spans cut out of a text, as many as T5 has


@dataclass(frozen=True)
class SpecialIds:
    """The ids of a tokenizer that are no text, by what they are for."""

    size: int  # of the vocabulary: all ids are below it, gaps included
    begin: int  # stands before a document; the same token as `end` in many vocabularies
    end: int  # stands after a document
    pad: int  # fills the end of a row; `end` where the tokenizer has no token of its own for it
    mask: int | None  # stands for a hidden token
    special: tuple[int, ...]  # all of them, marks of turns too, ascending; no text is encoded as one
    sentinels: tuple[int, ...]  # stand for spans cut out of a text: the tokenizer's own, or those behind its last id

    @property
    def required_mask(self) -> int:
        """Return the mask of a tokenizer that the masked family is trained with, which has one."""
        assert self.mask is not None, "the tokenizer has no mask"
        return self.mask

    def never_written(self, ends: tuple[int, ...]) -> tuple[int, ...]:
        """Return the ids that a model must not write; `ends` are those that stop it."""
        return tuple(mark for mark in self.special if mark not in ends)


def own_ids(size: int) -> SpecialIds:
    """Return the special ids of a vocabulary of ours with `size` ids."""
    return SpecialIds(
        size=size,
        begin=END_OF_TEXT,
        end=END_OF_TEXT,
        pad=PAD,
        mask=MASK,
        special=tuple(range(len(SPECIAL_TOKENS))),
        sentinels=tuple(range(size, size + SENTINELS)),
    )
