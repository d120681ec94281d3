"""Turns of a conversation encoded together, for tokenizers that put a space in front of a text (sentencepiece's).

    template    <s>[INST] one [/INST] two</s>
    together    <s> _[ INST ] _one _[ / INST ] _two </s>            what transformers reads, and what the base was taught
    apart       <s> _[ INST ] _ _one _ _[ / INST ] _ _two </s>      each piece with a space of its own

So the text between two special tokens is encoded as one. What people typed stays text: special tokens are looked for in the
marks alone. A token that two parts share belongs to the one that it ends in.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from privllm.tokens.chat_template import TurnMarks, generation_prompt, marks_in
from privllm.tokens.encode import steps_of, without_specials

OPENING, CONTENT, END = range(3)  # parts of a turn


class WrittenTurn(NamedTuple):
    """A turn between marks; marks are tuples, of ids or characters, and what people typed is a str."""

    role: str
    opening: tuple[Any, ...]
    content: str
    end: tuple[Any, ...]


class Part(NamedTuple):
    """A piece of a conversation's text."""

    turn: int
    place: int  # OPENING, CONTENT or END
    text: str
    is_mark: bool  # whether special tokens may stand in it


class Located(NamedTuple):
    """A token, and where it belongs."""

    turn: int
    place: int
    token: int


class JointTurns:
    """The marks of a template as text, and the encoder of conversations."""

    def __init__(self, tokenizer_json: str, names: dict[str, str], template: str) -> None:
        tokenizer = Tokenizer.from_str(tokenizer_json)
        added = tokenizer.get_added_tokens_decoder()
        self.specials = {token.content: (number, token) for number, token in added.items() if token.special}
        by_length = sorted(self.specials, key=len, reverse=True)
        self._special = re.compile(f"({'|'.join(map(re.escape, by_length))})") if by_length else re.compile("(?!)")
        self.first = Tokenizer.from_str(without_specials(tokenizer_json))
        self.later = Tokenizer.from_str(without_specials(_without_first_space(tokenizer_json)))
        marks = marks_in(template, names, self.atoms, self.specials.keys(), may_join=True)
        assert marks is not None, "a template whose marks are told as ids has them as text"
        self.marks: TurnMarks = marks
        self.prompt = generation_prompt(template, names) or ""
        # A space that the template puts before a reply and not behind a prompt is the reply's: a model writes it.
        self.before_reply = "".join((*marks.user_end, *marks.assistant)).removeprefix(self.prompt)

    def atoms(self, text: str) -> list[str]:
        """Return the special tokens of a mark, and its other characters one by one."""
        atoms: list[str] = []
        for piece in self._special.split(text):
            atoms += [piece] if piece in self.specials else list(piece)
        return atoms

    def ids_of(self, turns: Sequence[WrittenTurn]) -> list[tuple[list[int], list[int], list[int]]]:
        """Return the ids of what opens each turn, of what was said, and of what ends it."""
        ids: list[tuple[list[int], list[int], list[int]]] = [([], [], []) for _ in turns]
        for located in self.encode(self._parts(turns)):
            ids[located.turn][located.place].append(located.token)
        return ids

    def prompt_of(self, turns: Sequence[WrittenTurn]) -> list[int]:
        """Return the ids of the turns and of the opening of the assistant's next one."""
        parts = self._parts(turns)
        opening = "".join(self.marks.assistant).removesuffix(self.before_reply)
        if turns and turns[-1].role == "user":
            parts.pop()  # its end is the beginning of the prompt
            opening = self.prompt
        return [located.token for located in self.encode([*parts, Part(len(turns), OPENING, opening, True)])]

    def _parts(self, turns: Sequence[WrittenTurn]) -> list[Part]:
        """Return the text of turns in order; the last part is the end of the last turn."""
        parts = []
        for number, turn in enumerate(turns):
            for piece in turn.opening:
                parts.append(Part(number, OPENING, "".join(piece), not isinstance(piece, str)))
            if turn.role == "assistant":
                parts[-1] = parts[-1]._replace(text=parts[-1].text.removesuffix(self.before_reply))
                parts.append(Part(number, CONTENT, self.before_reply, False))
            parts.append(Part(number, CONTENT, turn.content, False))
            parts.append(Part(number, END, "".join(turn.end), True))
        return parts

    def encode(self, parts: Sequence[Part]) -> Iterator[Located]:
        """Yield the tokens of a conversation, as transformers encodes its whole text."""
        segment: list[Part] = []
        is_first = True
        strips = False  # whether the special token before takes the white space behind it
        for part in parts:
            pieces = self._special.split(part.text) if part.is_mark else [part.text]
            for piece in pieces:
                if not (part.is_mark and piece in self.specials):
                    segment.append(part._replace(text=piece))
                    continue
                number, token = self.specials[piece]
                yield from self._segment(segment, is_first, strips, token.lstrip)
                yield Located(part.turn, part.place, number)
                segment, is_first, strips = [], False, token.rstrip
        yield from self._segment(segment, is_first, strips, False)

    def _segment(
        self, parts: Sequence[Part], is_first: bool, strips_left: bool, strips_right: bool
    ) -> Iterator[Located]:
        """Yield the tokens of text without special tokens between."""
        text = "".join(part.text for part in parts)
        owners = [part for part in parts for _ in part.text]
        if strips_right:
            text = text.rstrip()
        if strips_left:
            owners, text = owners[len(text) - len(text.lstrip()) :], text.lstrip()
        if not text:
            return
        encoded = (self.first if is_first else self.later).encode(text, add_special_tokens=False)
        for token, (begin, end) in zip(encoded.ids, encoded.offsets, strict=True):
            owner = owners[min(max(begin, end - 1), len(owners) - 1)]
            yield Located(owner.turn, owner.place, token)


def _without_first_space(tokenizer_json: str) -> str:
    """Return the tokenizer for text that does not stand first, where a space is put in front of the first text alone."""
    definition = json.loads(tokenizer_json)
    for step in steps_of(definition, "pre_tokenizer"):
        _never_in_front(step)
    return json.dumps(definition, ensure_ascii=False)


def _never_in_front(step: dict[str, Any]) -> None:
    if step["type"] == "Metaspace" and step.get("prepend_scheme") == "first":
        step["prepend_scheme"] = "never"
