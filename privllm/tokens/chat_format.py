"""Turns of a conversation as token ids: what opens and ends a turn, and how much of a conversation fits.

Training, evaluation and serving must read conversations alike, so marks are put around turns here and
nowhere else. Nothing in a text can become a mark: contents are encoded without special tokens
(`encode`), and marks are inserted as ids. HF `tokenizers` encodes, since it reads every tokenizer's
file, and conversations are few. No model is used here.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from privllm.core.special_tokens import ASSISTANT, END_OF_TURN, SPECIAL_TOKENS, TURN_MARKS, USER
from privllm.tokens.chat_template import FILE, TurnMarks, marks_in, template_with
from privllm.tokens.encode import without_specials

ROLES = ("user", "assistant")
Turn = tuple[str, str]  # one of ROLES, what was said


@dataclass(frozen=True)
class Marks:
    """Ids of a tokenizer that stand around a text and around turns."""

    begin: tuple[int, ...]
    user: tuple[int, ...]
    assistant: tuple[int, ...]
    end: tuple[int, ...]  # of a turn
    stop: int  # the end of what a model writes
    pad: int
    around: tuple[tuple[int, ...], tuple[int, ...]]  # before and after a text that is classified

    @property
    def ends(self) -> tuple[int, ...]:
        """Return the tokens that end a reply."""
        return tuple(dict.fromkeys((self.stop, self.end[0])))


class Dialogue(NamedTuple):
    """Encoded turns, of which the last is the assistant's."""

    tokens: list[int]
    learnt: list[bool]  # whether the assistant says a token; the first of the mark that ends its turn counts too
    answer_at: int  # where the last turn's text begins
    cut: bool  # whether a part of it did not fit


class Exchange(NamedTuple):
    """Encoded prompt and replies to it."""

    prompt: list[int]  # up to where a model continues
    replies: list[list[int]]  # each with the token that ends it
    cut: bool


class Speech:
    """Tokenizer of conversations, with its marks."""

    def __init__(self, folder: Path) -> None:
        text = (folder / "tokenizer.json").read_text("utf-8")
        self.plain = Tokenizer.from_str(without_specials(text))
        self.marks = marks_of(text, self.ids, folder)
        names = (_named(folder).get("mask_token"), "<|mask|>", "[MASK]", "<mask>")
        self.mask = _first_id(Tokenizer.from_str(text), names)  # what a masked model reads for a hidden word

    def ids(self, text: str) -> list[int]:
        return self.plain.encode(text, add_special_tokens=False).ids

    def own_turn_marks(self) -> list[int]:
        """Return the marks of turns that are ours: those of a base model's own template it knows already."""
        ids = dict.fromkeys((*self.marks.user, *self.marks.assistant, *self.marks.end))
        own = [SPECIAL_TOKENS[mark] for mark in TURN_MARKS]
        return [mark for mark in ids if self.plain.id_to_token(mark) in own]

    def text(self, ids: Sequence[int]) -> str:
        """Return what a model wrote, up to its first token that ends a reply."""
        end_ids = (self.marks.stop, self.marks.end[0], self.marks.pad)
        written = list(takewhile(lambda token: token not in end_ids, ids))
        return self.plain.decode(written, skip_special_tokens=False).strip()

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """Return the ids of all turns, and the opening of the assistant's next one."""
        tokens = list(self.marks.begin)
        for role, text in turns:
            tokens += self._opening(role)
            tokens += self.ids(text)
            tokens += self.marks.end
        tokens += self.marks.assistant
        return tokens

    def least(self, reply: str) -> int:
        """Return the number of tokens of the shortest dialogue that has this reply."""
        marks = self.marks
        all_marks = [*marks.begin, *marks.user, *marks.end, *marks.assistant, *marks.end]
        return len(all_marks) + len(self.ids(reply))

    def dialogue(self, turns: Sequence[Turn], context: int) -> Dialogue | None:
        """Return the turns in at most `context + 1` tokens (the last is only ever a label).

        The oldest turns are left out first, up to a question each time; then the last question is cut
        at its end. Returns None where the reply alone does not fit.
        """
        room = context + 1 - len(self.marks.begin)
        contents = [self.ids(text) for _, text in turns]
        sizes = []
        for (role, _), content in zip(turns, contents, strict=True):
            sizes.append(len(self._opening(role)) + len(content) + len(self.marks.end))
        starts = [0]
        for i in range(1, len(turns) - 1):
            role, _ = turns[i]
            if role == "user":
                starts.append(i)
        question = starts[-1]
        question_size = len(contents[question])
        question_room = room - (sum(sizes[question:]) - question_size)
        if question_room < 1:
            return None
        fitting_starts = [start for start in starts if sum(sizes[start:]) <= room]
        first = fitting_starts[0] if fitting_starts else question
        is_cut = first > 0 or question_size > question_room
        if first == question:
            contents[question] = contents[question][:question_room]
        return self._joined(turns[first:], contents[first:], is_cut)

    def _joined(self, turns: Sequence[Turn], contents: Sequence[list[int]], is_cut: bool) -> Dialogue:
        """Return the turns, whose texts are `contents`, with all marks."""
        marks = self.marks
        tokens = list(marks.begin)
        learnt = [False] * len(marks.begin)
        answer_at = 0
        for (role, _), content in zip(turns, contents, strict=True):
            opening = self._opening(role)
            answer_at = len(tokens) + len(opening)
            tokens += [*opening, *content, *marks.end]
            learnt += [False] * len(opening)
            learnt += [role == "assistant"] * (len(content) + 1)
            learnt += [False] * (len(marks.end) - 1)
        return Dialogue(tokens, learnt, answer_at, is_cut)

    def exchange(self, turns: Sequence[Turn], replies: Sequence[str], context: int) -> Exchange | str:
        """Return replies to one prompt, which is cut so that the longest reply fits.

        Returns a str where they cannot be used: empty, system, same or too_long.
        """
        if any(not reply.strip() for reply in replies):
            return "empty"
        if any(role not in ROLES for role, _ in turns):
            return "system"  # `serve` refuses it too
        encoded = [[*self.ids(reply), self.marks.end[0]] for reply in replies]
        if len({tuple(reply) for reply in encoded}) < len(encoded):
            return "same"
        sizes = [len(reply) for reply in encoded]
        longest = replies[sizes.index(max(sizes))]
        dialogue = self.dialogue([*turns, ("assistant", longest)], context)
        if dialogue is None:
            return "too_long"
        return Exchange(dialogue.tokens[: dialogue.answer_at], encoded, dialogue.cut)

    def _opening(self, role: str) -> tuple[int, ...]:
        return self.marks.user if role == "user" else self.marks.assistant


def marks_of(tokenizer_json: str, encode: Callable[[str], list[int]], folder: Path) -> Marks:
    """Return the marks of a tokenizer: our own, those of its chat template, of ChatML, or of BERT.

    Any other tokenizer's end of text serves for all of them.
    """
    tokenizer = Tokenizer.from_str(tokenizer_json)
    names = _named(folder)
    find = tokenizer.token_to_id
    stop = _first_id(tokenizer, (names.get("eos_token"), "<|endoftext|>", "</s>", "[SEP]")) or 0
    pad = _first_id(tokenizer, (names.get("pad_token"), "<|pad|>", "<pad>", "[PAD]"))
    pad = stop if pad is None else pad
    user = find(SPECIAL_TOKENS[USER])
    assistant = find(SPECIAL_TOKENS[ASSISTANT])
    end = find(SPECIAL_TOKENS[END_OF_TURN])
    if user is not None and assistant is not None and end is not None:
        return Marks((stop,), (user,), (assistant,), (end,), stop, pad, ((stop,), (stop,)))
    template = template_of(folder)
    turn_marks = _marks_of_template(template, names, tokenizer) if template else None
    if turn_marks and turn_marks.end[0] in _special_ids(tokenizer):  # or typed text could end a reply
        return Marks(*turn_marks, stop, pad, ((), (stop,)))
    start, end = find("<|im_start|>"), find("<|im_end|>")
    if start is not None and end is not None:
        user_opening = (start, *encode("user\n"))
        assistant_opening = (start, *encode("assistant\n"))
        return Marks((), user_opening, assistant_opening, (end, *encode("\n")), stop, pad, ((), (stop,)))
    newline = tuple(encode("\n"))
    first, last = find("[CLS]"), find("[SEP]")
    if first is not None and last is not None:
        return Marks((), (), newline, (stop,), stop, pad, ((first,), (last,)))
    return Marks((), (), newline, (stop,), stop, pad, ((), (stop,)))


def _first_id(tokenizer: Tokenizer, names: Sequence[str | None]) -> int | None:
    """Return the id of the first of these names that the tokenizer has."""
    for name in names:
        token_id = tokenizer.token_to_id(name) if name else None
        if token_id is not None:
            return token_id
    return None


def _special_ids(tokenizer: Tokenizer) -> set[int]:
    added_tokens = tokenizer.get_added_tokens_decoder()
    return {number for number, token in added_tokens.items() if token.special}


def _marks_of_template(template: str, names: dict[str, str], tokenizer: Tokenizer) -> TurnMarks | None:
    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False).ids

    return marks_in(template, names, encode)


def agreeing_template(folder: Path) -> str:
    """Return a chat template that puts the same marks as `Speech`; "" where the tokenizer's own does."""
    tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text("utf-8"))
    marks = Speech(folder).marks
    turn_marks = TurnMarks(marks.begin, marks.user, marks.assistant, marks.end)
    if _marks_of_template(template_of(folder), _named(folder), tokenizer) == turn_marks:
        return ""
    return template_with(turn_marks, lambda ids: tokenizer.decode(list(ids), skip_special_tokens=False))


def template_of(folder: Path) -> str:
    """Return the tokenizer's own chat template; "" if there is none."""
    file = folder / FILE
    if file.is_file():
        return file.read_text("utf-8")
    template = _read_config(folder).get("chat_template")
    return template if isinstance(template, str) else ""


def _named(folder: Path) -> dict[str, str]:
    """Return special tokens by their role, as tokenizer_config.json names them."""
    named = {}
    for key, value in _read_config(folder).items():
        if key.endswith("_token") and value:
            named[key] = value["content"] if isinstance(value, dict) else value
    return named


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}
