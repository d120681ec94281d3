"""What tokens have in common in their spelling, by which the rare ones learn from the others.

Of a small text most tokens of a vocabulary are seen a few times. Trained from scratch, a token moves by its own gradient and by those
of its parts, each of which gathers the gradients of all tokens that have it: as if its vector were one of its own plus those of its
parts (Takase et al. 2019, arXiv 1906.05506). That sum is one vector, so the model has none for the parts: only the optimiser knows of
them, and keeps their states.

    " Walking"   ->   a space before it, one capital, "walking", its beginnings and ends, "<wa", "wal", "alk", ..., "ng>"

Shapes: V tokens, P parts, D width.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

SPACES = (" ", "\t", "\n", "\r")
LONGEST_END = 4  # characters of a beginning or an end
RUN = 3  # characters of a run inside a word, whose ends are marked


class Bags(NamedTuple):
    """A sparse matrix by rows: members of each row, where rows begin (and the last one ends), and the members' weights."""

    members: Tensor
    starts: Tensor
    weights: Tensor

    def times(self, matrix: Tensor) -> Tensor:
        """Return the product with a matrix [columns, D]."""
        return embedding_bag(
            self.members, matrix, self.starts, mode="sum", per_sample_weights=self.weights, include_last_offset=True
        )

    def to(self, device: torch.device) -> Self:
        return self if self.members.device == device else type(self)(*(tensor.to(device) for tensor in self))


class SpellingParts:
    """The parts that two tokens of a vocabulary or more have; a token of n parts has each with a weight of n ** -0.5."""

    def __init__(self, spelling: Mapping[int, bytes], size: int, special: Iterable[int] = ()) -> None:
        """Find the parts of the tokens of a table with `size` rows; `special` ones have none, whatever their names look like."""
        tokens_of: dict[str, list[int]] = defaultdict(list)
        for token in sorted(spelling.keys() - set(special)):
            for part in parts_of(spelling[token]):
                tokens_of[part].append(token)
        shared = [tokens for _, tokens in sorted(tokens_of.items()) if len(tokens) > 1]
        parts: list[list[int]] = [[] for _ in range(size)]
        for number, tokens in enumerate(shared):
            for token in tokens:
                parts[token].append(number)
        weights = [len(of_token) ** -0.5 if of_token else 0.0 for of_token in parts]
        self.count = len(shared)
        self._of_tokens = _bags(parts, [[weights[token]] * len(of_token) for token, of_token in enumerate(parts)])
        self._of_parts = _bags(shared, [[weights[token] for token in tokens] for tokens in shared])

    def gathered(self, gradient_VD: Tensor) -> Tensor:
        """Return the gradient of each part: [P, D]."""
        self._of_parts = self._of_parts.to(gradient_VD.device)
        return self._of_parts.times(gradient_VD)

    def spread(self, changes_PD: Tensor) -> Tensor:
        """Return what changes of the parts are of each token: [V, D]."""
        self._of_tokens = self._of_tokens.to(changes_PD.device)
        return self._of_tokens.times(changes_PD)


def parts_of(token: bytes) -> set[str]:
    """Return the names of a token's parts. Bytes that are no whole character count as characters of their own."""
    text = token.decode("utf-8", "surrogateescape")
    word = text.strip("".join(SPACES))
    letters = word.lower()
    marked = f"<{letters}>"
    parts = {f"space {text.startswith(SPACES)}", f"case {_case(word)}", f"word {letters}"}
    parts |= {f"begins {letters[:length]}" for length in range(1, min(LONGEST_END, len(letters)) + 1)}
    parts |= {f"ends {letters[-length:]}" for length in range(1, min(LONGEST_END, len(letters)) + 1)}
    parts |= {f"has {marked[start : start + RUN]}" for start in range(len(marked) - RUN + 1)}
    return parts


def _case(word: str) -> str:
    """Return how a word is written; letters that have no case count as lower ones."""
    if len(word) > 1 and word.isupper():
        return "upper"
    if word[:1].isupper():
        return "capital"
    if word[:1].isalpha():
        return "lower"
    return "digit" if word[:1].isdigit() else "other"


def _bags(members: list[list[int]], weights: list[list[float]]) -> Bags:
    starts = torch.tensor([0] + [len(row) for row in members]).cumsum(0)
    return Bags(
        torch.tensor([member for row in members for member in row], dtype=torch.long),
        starts,
        torch.tensor([weight for row in weights for weight in row], dtype=torch.float32),
    )
