"""Labelled examples to token ids: what a model reads, and which of its places are to be learnt.

Turns are rendered by `tokens.chat_format`, so nothing in an example can become a special token. Inputs that are too long are cut at their
end and counted (of a chat, the oldest turns leave); an example whose answer is too long is left out and named.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from privllm.core.bio_labels import OUTSIDE
from privllm.core.families import TRAITS
from privllm.models.vocabulary import IGNORED
from privllm.tasks.formats import Chat, Classified, Dataset, Example, InputOutput, Skipped, Tagged, line_error
from privllm.tasks.line_faults import InvalidLine, error_at
from privllm.tokens.chat_format import Speech


class Encoded(NamedTuple):
    """One example. For the kinds that write, `labels` has IGNORED where nothing is learnt."""

    inputs: np.ndarray  # int64
    labels: np.ndarray  # int64: [1] class; [inputs] tags, or next tokens; [answer] of a seq2seq
    prompt: np.ndarray  # what is to be answered (int64; empty for the kinds that label)
    words: int = 0  # of the tokens kind: how many words were left whole


class Coder:
    """Encodes the examples of one dataset for one family; `cut` counts the inputs that were too long, `skipped` names such answers."""

    def __init__(self, speech: Speech, family: str, dataset: Dataset, context: int, labels: tuple[str, ...]) -> None:
        self.speech = speech
        self.family = family
        self.dataset = dataset
        self.context = context
        self.labels = {label: number for number, label in enumerate(labels)}
        self.cut = 0
        self.skipped: list[Skipped] = []

    def encode(self, examples: Sequence[Example]) -> list[Encoded]:
        """Return the encoded examples. Raises UserError for one whose answer does not fit."""
        encoded = self.encode_fitting(examples)
        if len(encoded) < len(examples):
            line, _, fault = self.skipped[-1]
            raise error_at(self.dataset.path, line, fault, self.dataset.unit)
        return encoded

    def encode_fitting(self, examples: Sequence[Example]) -> list[Encoded]:
        """Return the encoded examples, without those whose answer does not fit: they are in `skipped`."""
        encoded = []
        for example in examples:
            try:
                encoded.append(self._encode(example))
            except InvalidLine as fault:
                self.skipped.append(Skipped(example.line, fault.reason, str(fault)))
        return encoded

    def _encode(self, example: Example) -> Encoded:
        match example.content:
            case Classified(text, label):
                before, after = self.speech.marks.around
                room = self.context - len(before) - len(after)
                text_ids = self._head(self.speech.ids(text), room)
                return _encoded([*before, *text_ids, *after], [self.labels[label]])
            case Tagged():
                return self._tagged(example, example.content)
            case InputOutput(question, answer) if TRAITS[self.family].writes_separately:
                labels = [*self.speech.ids(answer), self.speech.marks.stop]
                if len(labels) > self.context:
                    raise self._too_long(len(labels))
                inputs = self._head([*self.speech.ids(question), self.speech.marks.stop], self.context)
                return _encoded(inputs, labels, inputs)
            case InputOutput(question, answer):
                return self._turns(example, [("user", question), ("assistant", answer)])
            case Chat(turns):
                return self._turns(example, list(turns))

    def _tagged(self, example: Example, content: Tagged) -> Encoded:
        """Encode words with labels.

        The first piece of each word carries its label (Devlin et al. 2018), the last one where a piece sees only those before it.
        A word that does not fit is left out whole.
        """
        before, after = self.speech.marks.around
        inputs, labels, words = list(before), [IGNORED] * len(before), 0
        asked = set(content.asked())
        at_end = TRAITS[self.family].continues_text
        for place, (word, tag) in enumerate(zip(content.tokens, content.labels, strict=True)):
            pieces = self._pieces_of(word, example, is_first=place == 0)
            if len(inputs) + len(pieces) + len(after) > self.context:
                self.cut += 1
                break
            inputs += pieces
            label = self.labels[tag] if place in asked else IGNORED
            others = [IGNORED] * (len(pieces) - 1)
            labels += [*others, label] if at_end else [label, *others]
            words += 1
        inputs += after
        labels += [IGNORED] * len(after)
        return _encoded(inputs, labels)._replace(words=words)

    def _pieces_of(self, word: str | None, example: Example, is_first: bool) -> list[int]:
        """Return the ids of a word of a text; the mask for a hidden one."""
        if word is None:
            return [self._mask(example)]
        return self.speech.ids(word if is_first else f" {word}") or [self.speech.lost_word]

    def _turns(self, example: Example, turns: list[tuple[str, str]]) -> Encoded:
        """Encode turns one after the other, with next-token labels on the assistant's messages and their ends."""
        dialogue = self.speech.dialogue(turns, self.context)
        if dialogue is None:
            raise self._too_long(self.speech.least(turns[-1][1]))
        self.cut += dialogue.cut
        tokens = dialogue.tokens
        labels = []
        for next_token, is_learnt in zip(tokens[1:], dialogue.learnt[1:], strict=True):
            labels.append(next_token if is_learnt else IGNORED)
        return _encoded(tokens[:-1], labels, prompt=tokens[: dialogue.answer_at])

    def _head(self, ids: list[int], room: int) -> list[int]:
        self.cut += len(ids) > room
        return ids[:room]

    def _mask(self, example: Example) -> int:
        if self.speech.mask is None:
            raise line_error(self.dataset, example, "it hides a word (null), but the model's tokenizer has no mask")
        return self.speech.mask

    def _too_long(self, tokens: int) -> InvalidLine:
        fault = f"its answer needs {tokens} tokens, marks included, but the model sees {self.context} at once; shorten the answer"
        return InvalidLine(fault, "answer_too_long")


def tags_of(types: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels of a head that finds entities of these types."""
    labels = [OUTSIDE]
    for kind in types:
        labels += [f"B-{kind}", f"I-{kind}"]
    return tuple(labels)


def _encoded(inputs: Sequence[int], labels: Sequence[int], prompt: Sequence[int] = ()) -> Encoded:
    return Encoded(
        inputs=np.array(inputs, np.int64),
        labels=np.array(labels, np.int64),
        prompt=np.array(prompt, np.int64),
    )
