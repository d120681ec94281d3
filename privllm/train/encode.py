"""Labelled examples to token ids: what a model reads, and which of its places are to be learnt.

Nothing in an example can become a special token: contents are encoded without them (`tokens.encoding`), and the marks of turns are
put in as ids. Inputs that are too long are cut at their end and counted (of a chat, the oldest turns leave); an answer that is too
long is an error, which names its line.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from privllm.tasks.formats import OUTSIDE, Chat, Classified, Dataset, Example, Pair, Tagged, line_error
from privllm.tokens.encoding import without_specials
from privllm.train.data import IGNORED


@dataclass(frozen=True)
class Marks:
    """Ids around a text and around turns, as a tokenizer has them."""

    begin: tuple[int, ...]
    user: tuple[int, ...]
    assistant: tuple[int, ...]
    end: tuple[int, ...]  # of a turn
    stop: int  # the end of what a model writes
    pad: int
    around: tuple[tuple[int, ...], tuple[int, ...]]  # before and after a text that is classified


class Encoded(NamedTuple):
    """One example. For the kinds that write, `labels` has IGNORED where nothing is learnt."""

    inputs: np.ndarray  # int64
    labels: np.ndarray  # int64: [1] class; [inputs] tags, or next tokens; [answer] of a seq2seq
    prompt: np.ndarray  # what is to be answered (int64; empty for the kinds that label)
    words: int = 0  # of the tokens kind: how many words were left whole


class Speech:
    """A tokenizer and its marks. HF `tokenizers` does the work: it reads everybody's files, and examples are few."""

    def __init__(self, folder: Path) -> None:
        text = (folder / "tokenizer.json").read_text("utf-8")
        self.plain = Tokenizer.from_str(without_specials(text))
        self.marks = marks_of(text, self.ids, folder)

    def ids(self, text: str) -> list[int]:
        return self.plain.encode(text, add_special_tokens=False).ids

    def text(self, ids: Sequence[int]) -> str:
        """What a model wrote, up to its first mark of an end."""
        ends = [place for place, token in enumerate(ids) if token in (self.marks.stop, self.marks.end[0], self.marks.pad)]
        return self.plain.decode(list(ids)[: ends[0] if ends else None], skip_special_tokens=False).strip()


def marks_of(tokenizer_json: str, encode: Callable[[str], list[int]], folder: Path) -> Marks:
    """The marks of our own tokenizers, of ChatML's, of BERT's; any other's end of text serves for all."""
    known = Tokenizer.from_str(tokenizer_json)
    names = _named(folder)
    find = known.token_to_id
    stop = next((i for name in (names.get("eos_token"), "<|endoftext|>", "</s>", "[SEP]") if name and (i := find(name)) is not None), 0)
    pad = next((i for name in (names.get("pad_token"), "<|pad|>", "<pad>", "[PAD]") if name and (i := find(name)) is not None), stop)
    user, assistant, end = (find(f"<|{name}|>") for name in ("user", "assistant", "end"))
    if user is not None and assistant is not None and end is not None:
        return Marks((stop,), (user,), (assistant,), (end,), stop, pad, ((stop,), (stop,)))
    start, end = find("<|im_start|>"), find("<|im_end|>")
    if start is not None and end is not None:
        return Marks((), (start, *encode("user\n")), (start, *encode("assistant\n")), (end, *encode("\n")), stop, pad, ((), (stop,)))
    first, last = find("[CLS]"), find("[SEP]")
    around = ((first,), (last,)) if first is not None and last is not None else ((), (stop,))
    return Marks((), (), tuple(encode("\n")), (stop,), stop, pad, around)


def _named(folder: Path) -> dict[str, str]:
    """Special tokens by their role, as tokenizer_config.json names them."""
    path = folder / "tokenizer_config.json"
    values = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    named = {key: value for key, value in values.items() if key.endswith("_token") and value}
    return {key: value["content"] if isinstance(value, dict) else value for key, value in named.items()}


class Coder:
    """Encodes the examples of one dataset for one family; `cut` counts those that were too long."""

    def __init__(self, speech: Speech, family: str, dataset: Dataset, context: int, labels: tuple[str, ...]) -> None:
        self.speech, self.family, self.dataset, self.context = speech, family, dataset, context
        self.labels = {label: number for number, label in enumerate(labels)}
        self.cut = 0

    def encode(self, examples: Sequence[Example]) -> list[Encoded]:
        return [self._encode(example) for example in examples]

    def _encode(self, example: Example) -> Encoded:
        match example.content:
            case Classified(text, label):
                before, after = self.speech.marks.around
                inputs = [*before, *self._head(self.speech.ids(text), self.context - len(before) - len(after)), *after]
                return _encoded(inputs, [self.labels[label]])
            case Tagged():
                return self._tagged(example.content)
            case Pair(given, answer) if self.family == "seq2seq":
                inputs, labels = self.speech.ids(given), [*self.speech.ids(answer), self.speech.marks.stop]
                if len(labels) > self.context:
                    raise self._too_long(example, len(labels))
                inputs = self._head([*inputs, self.speech.marks.stop], self.context)
                return _encoded(inputs, labels, inputs)
            case Pair(given, answer):
                return self._turns(example, [("user", given), ("assistant", answer)])
            case Chat(turns):
                return self._turns(example, list(turns))

    def _tagged(self, content: Tagged) -> Encoded:
        """The first piece of each word carries its label (Devlin et al. 2018); a word that does not fit is left out whole."""
        before, after = self.speech.marks.around
        inputs, labels, words = list(before), [IGNORED] * len(before), 0
        for place, (word, tag) in enumerate(zip(content.tokens, content.labels, strict=True)):
            pieces = self.speech.ids(f" {word}" if place else word)
            if len(inputs) + len(pieces) + len(after) > self.context:
                self.cut += 1
                break
            inputs += pieces
            labels += [self.labels[tag], *[IGNORED] * (len(pieces) - 1)]
            words += 1
        return _encoded([*inputs, *after], [*labels, *[IGNORED] * len(after)])._replace(words=words)

    def _turns(self, example: Example, turns: list[tuple[str, str]]) -> Encoded:
        """Turns one after the other, labels on what the assistant says and on the end of it; next-token labels."""
        marks = self.speech.marks
        said = [self.speech.ids(text) for _, text in turns]
        last = len(marks.begin) + len(marks.user) + len(marks.end) + len(marks.assistant) + len(said[-1]) + len(marks.end)
        if last > self.context:  # one token more is left for the input, as the last one is only ever a label
            raise self._too_long(example, last)
        openings = [marks.user if role == "user" else marks.assistant for role, _ in turns]
        sizes = [len(opening) + len(ids) + len(marks.end) for opening, ids in zip(openings, said, strict=True)]
        first = 0
        while sum(sizes[first:]) + len(marks.begin) > self.context + 1 and first < len(turns) - 2:
            first += 2
        spare = self.context + 1 - last
        self.cut += first > 0 or (first == len(turns) - 2 and len(said[first]) > spare)
        if first == len(turns) - 2:
            said[first] = said[first][:spare]
        tokens, learnt, answer_at = list(marks.begin), [False] * len(marks.begin), 0
        for (role, _), opening, ids in list(zip(turns, openings, said, strict=True))[first:]:
            answer_at = len(tokens) + len(opening)
            tokens += [*opening, *ids, *marks.end]
            learnt += [False] * len(opening) + [role == "assistant"] * (len(ids) + 1) + [False] * (len(marks.end) - 1)
        labels = [token if wanted else IGNORED for token, wanted in zip(tokens[1:], learnt[1:], strict=True)]
        return _encoded(tokens[:-1], labels, tokens[:answer_at])

    def _head(self, ids: list[int], room: int) -> list[int]:
        self.cut += len(ids) > room
        return ids[:room]

    def _too_long(self, example: Example, tokens: int) -> Exception:
        what = f"its answer needs {tokens} tokens, marks included, but the model sees {self.context} at once; shorten the answer"
        return line_error(self.dataset, example, what)


def tags_of(types: tuple[str, ...]) -> tuple[str, ...]:
    """The labels of a head that finds entities of these types."""
    return (OUTSIDE, *(f"{mark}-{kind}" for kind in types for mark in "BI"))


def _encoded(inputs: Sequence[int], labels: Sequence[int], prompt: Sequence[int] = ()) -> Encoded:
    return Encoded(np.array(inputs, np.int64), np.array(labels, np.int64), np.array(prompt, np.int64))
