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

from privllm.core.errors import UserError
from privllm.core.special_tokens import END_OF_TEXT, SPECIAL_TOKENS, TURN_MARKS, USER
from privllm.tokens.chat_template import FILE, TurnMarks, marks_in, template_with
from privllm.tokens.encode import puts_space_in_front, spelt_specials, with_type, without_specials
from privllm.tokens.joint_turns import JointTurns, WrittenTurn
from privllm.tokens.special_ids import names_in, read_object, read_tokenizer, special_ids

ROLES = ("user", "assistant")
SYSTEM = "system"  # the role of instructions, which may only stand first
Turn = tuple[str, str]  # SYSTEM or one of ROLES, what was said


@dataclass(frozen=True)
class Marks:
    """Ids of a tokenizer that stand around a text and around turns."""

    begin: tuple[int, ...]
    user: tuple[int, ...]
    assistant: tuple[int, ...]
    end: tuple[int, ...]  # of an assistant's turn
    user_end: tuple[int, ...]
    system: tuple[tuple[int, ...], tuple[int, ...]] | None  # around a system prompt; None where it is folded
    folded: str  # what joins a system prompt and the first user's text, where both are one turn
    last: int  # place in `end` of the token that ends a reply
    stop: int  # the end of what a model writes
    pad: int
    around: tuple[tuple[int, ...], tuple[int, ...]]  # before and after a text that is classified

    @property
    def ends(self) -> tuple[int, ...]:
        """Return the tokens that end a reply."""
        return tuple(dict.fromkeys((self.stop, self.end[self.last])))

    @property
    def written_end(self) -> tuple[int, ...]:
        """Return the part of `end` that a model learns to write."""
        return self.end[: self.last + 1]


class Dialogue(NamedTuple):
    """Encoded turns, of which the last is the assistant's."""

    tokens: list[int]
    learnt: list[bool]  # whether the assistant writes a token, what ends its turn included
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
        self._spelt = spelt_specials(json.loads(with_type(text)))
        self.special = special_ids(folder)
        # Stands for a word of which the vocabulary keeps nothing, such as one of invisible characters.
        self.lost_word = self.special.pad if self._spelt.unknown is None else self._spelt.unknown
        self.marks = marks_of(text, self.ids, folder)
        self.mask = self.special.mask  # what a masked model reads for a hidden word
        self.joint = _joint_turns(text, folder)

    def ids(self, text: str) -> list[int]:
        return self._spelt.replaced_in(self.plain.encode(text, add_special_tokens=False).ids)

    def own_turn_marks(self) -> list[int]:
        """Return the marks of turns that are ours: those of a base model's own template it knows already."""
        ids = dict.fromkeys((*self.marks.user, *self.marks.assistant, *self.marks.end))
        own = [SPECIAL_TOKENS[mark] for mark in TURN_MARKS]
        return [mark for mark in ids if self.plain.id_to_token(mark) in own]

    def text(self, ids: Sequence[int]) -> str:
        """Return what a model wrote, up to its first token that ends a reply."""
        end_ids = (*self.marks.ends, self.marks.pad)
        written = list(takewhile(lambda token: token not in end_ids, ids))
        return self.plain.decode(written, skip_special_tokens=False).strip()

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """Return the ids of all turns, and the opening of the assistant's next one."""
        if self.joint is not None:
            return self.joint.prompt_of(_written(self.joint.marks, turns))
        rendered = self._rendered(turns)
        tokens: list[int] = []
        for turn in rendered:
            tokens += turn.tokens
        return [*tokens, *self.marks.assistant]

    def least(self, reply: str) -> int:
        """Return the number of tokens of the shortest dialogue that has this reply."""
        shortest = self._rendered([("user", ""), ("assistant", reply)])
        return sum(len(turn.tokens) for turn in shortest)

    def dialogue(self, turns: Sequence[Turn], context: int) -> Dialogue | None:
        """Return the turns in at most `context + 1` tokens (the last is only ever a label).

        The oldest turns are left out first, up to a question each time; then the last question is cut
        at its end. A system prompt stays. Returns None where the reply alone does not fit.
        """
        instructions = [turn for turn in turns[:1] if turn[0] == SYSTEM]
        said = turns[len(instructions) :]
        starts = [0, *(i for i in range(1, len(said) - 1) if said[i][0] == "user")]
        for start in starts:
            rendered = self._rendered([*instructions, *said[start:]])
            excess = sum(len(turn.tokens) for turn in rendered) - (context + 1)
            if excess <= 0:
                return _joined(rendered, is_cut=start > 0)
        question = rendered[0]
        kept = len(question.content) - excess
        if kept < 1 or question.role != "user":
            return None
        shortened = question._replace(content=question.content[:kept])
        return _joined([shortened, *rendered[1:]], is_cut=True)

    def _rendered(self, turns: Sequence[Turn]) -> list["_Turn"]:
        """Return the turns with their marks; what begins a conversation, a system prompt too, belongs to the first one."""
        if self.joint is not None:
            return self._rendered_together(turns)
        rendered = []
        for turn in _written(self.marks, turns):
            opening: list[int] = []
            for piece in turn.opening:
                opening += self.ids(piece) if isinstance(piece, str) else piece
            content = self.ids(turn.content)
            rendered.append(_Turn(turn.role, tuple(opening), content, turn.end, self.marks.last + 1))
        return rendered

    def _rendered_together(self, turns: Sequence[Turn]) -> list["_Turn"]:
        """Return the turns where text and marks are encoded as one."""
        assert self.joint is not None
        written = _written(self.joint.marks, turns)
        last_mark = self.marks.end[self.marks.last]
        rendered = []
        for turn, (opening, content, end) in zip(written, self.joint.ids_of(written), strict=True):
            learnt = end.index(last_mark) + 1 if last_mark in end else len(end)
            rendered.append(_Turn(turn.role, tuple(opening), content, tuple(end), learnt))
        return rendered

    def _reply(self, reply: str) -> list[int]:
        """Return what the assistant writes, with the token that ends it."""
        *_, turn = self._rendered([("user", "a"), ("assistant", reply)])
        return [*turn.content, *turn.end[: turn.written]]

    def exchange(self, turns: Sequence[Turn], replies: Sequence[str], context: int) -> Exchange | str:
        """Return replies to one prompt, which is cut so that the longest reply fits.

        Returns a str where they cannot be used: empty, roles, same or too_long.
        """
        if any(not reply.strip() for reply in replies):
            return "empty"
        said = turns[1:] if turns and turns[0][0] == SYSTEM else turns
        if any(role not in ROLES for role, _ in said):
            return "roles"  # `serve` refuses them too
        encoded = [self._reply(reply) for reply in replies]
        if len({tuple(reply) for reply in encoded}) < len(encoded):
            return "same"
        sizes = [len(reply) for reply in encoded]
        longest = replies[sizes.index(max(sizes))]
        dialogue = self.dialogue([*turns, ("assistant", longest)], context)
        if dialogue is None:
            return "too_long"
        return Exchange(dialogue.tokens[: dialogue.answer_at], encoded, dialogue.cut)


def _written(marks: Any, turns: Sequence[Turn]) -> list[WrittenTurn]:
    """Return the turns between `marks`, ids or text; what begins a conversation belongs to the first one."""
    begin: tuple[Any, ...] = (marks.begin,)
    user = marks.user
    if turns and turns[0][0] == SYSTEM:
        instructions, turns = turns[0][1], turns[1:]
        opens = bool(turns) and turns[0][0] == "user"
        if not opens:
            turns = [("user", instructions), *turns]
        elif marks.system is not None:
            before, after = marks.system
            begin, user = (before, instructions), after
        else:
            turns = [("user", f"{instructions}{marks.folded}{turns[0][1]}"), *turns[1:]]
    written = []
    for role, text in turns:
        opening, end = (user, marks.user_end) if role == "user" else (marks.assistant, marks.end)
        written.append(WrittenTurn(role, (*begin, opening), text, end))
        begin, user = (), marks.user
    return written


def _joint_turns(tokenizer_json: str, folder: Path) -> JointTurns | None:
    """Return the encoder of whole conversations; None for tokenizers that read marks and text apart as they do together."""
    if not puts_space_in_front(json.loads(tokenizer_json)) or not reads_template(folder):
        return None
    return JointTurns(tokenizer_json, names_in(folder), template_of(folder))


class _Turn(NamedTuple):
    """One turn as ids."""

    role: str
    opening: tuple[int, ...]  # with what begins the conversation, where it is the first turn
    content: list[int]
    end: tuple[int, ...]
    written: int  # tokens of the end of an assistant's turn that a model learns to write

    @property
    def tokens(self) -> list[int]:
        return [*self.opening, *self.content, *self.end]


def _joined(turns: Sequence[_Turn], is_cut: bool) -> Dialogue:
    tokens: list[int] = []
    learnt: list[bool] = []
    answer_at = 0
    for turn in turns:
        answer_at = len(tokens) + len(turn.opening)
        tokens += turn.tokens
        is_assistant = turn.role == "assistant"
        learnt += [False] * len(turn.opening)
        learnt += [is_assistant] * len(turn.content)
        learnt += [is_assistant and place < turn.written for place in range(len(turn.end))]
    return Dialogue(tokens, learnt, answer_at, is_cut)


def marks_of(tokenizer_json: str, encode: Callable[[str], list[int]], folder: Path) -> Marks:
    """Return the marks of a tokenizer: those of its chat template, our own, of ChatML, or of BERT.

    Any other tokenizer's end of text serves for all of them.
    """
    tokenizer = read_tokenizer(tokenizer_json)
    names = names_in(folder)
    find = tokenizer.token_to_id
    boundaries = special_ids(folder)
    named = find(names["eos_token"]) if "eos_token" in names else None
    stop = boundaries.end if named is None else named
    first, last = find("[CLS]"), find("[SEP]")
    around: tuple[tuple[int, ...], tuple[int, ...]] = ((), (stop,))
    put_around = _put_around(tokenizer)
    if find(SPECIAL_TOKENS[USER]) == USER:  # our own vocabulary
        around = ((stop,), (stop,))
    elif all(put_around):  # as BERT's and RoBERTa's
        around = put_around
    elif first is not None and last is not None:
        around = ((first,), (last,))
    turn_marks = known_turns(tokenizer, names, template_of(folder), encode)
    if turn_marks is None:
        newline = tuple(encode("\n"))
        turn_marks = TurnMarks((), (), newline, (stop,), (stop,))
    special = _special_ids(tokenizer)
    end = turn_marks.end
    last_place = next((place for place, token in enumerate(end) if token in special), 0)
    return Marks(*turn_marks, last_place, stop, boundaries.pad, around)


def _put_around(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the special tokens that a tokenizer itself puts before and behind a text."""
    special = _special_ids(tokenizer)
    ids = tokenizer.encode("a").ids
    before = tuple(takewhile(special.__contains__, ids))
    behind = tuple(takewhile(special.__contains__, reversed(ids[len(before) :])))
    return before, behind[::-1]


def known_turns(
    tokenizer: Tokenizer, names: dict[str, str], template: str, encode: Callable[[str], list[int]]
) -> TurnMarks | None:
    """Return the marks of turns that a model with this tokenizer has been taught, or that were added for it to learn.

    None where there are none. `encode` reads a text without special tokens.
    """
    find = tokenizer.token_to_id
    if turn_marks := _usable_marks(template, names, tokenizer):
        return turn_marks
    special = _special_ids(tokenizer)
    user, assistant, end = (find(SPECIAL_TOKENS[mark]) for mark in TURN_MARKS)
    if special.issuperset({user, assistant, end}) and user is not None and assistant is not None and end is not None:
        boundary = find(SPECIAL_TOKENS[END_OF_TEXT])
        begin = () if boundary is None else (boundary,)
        return TurnMarks(begin, (user,), (assistant,), (end,), (end,))
    start, end = find("<|im_start|>"), find("<|im_end|>")
    if special.issuperset({start, end}) and start is not None and end is not None:
        user_opening = (start, *encode("user\n"))
        assistant_opening = (start, *encode("assistant\n"))
        turn_end = (end, *encode("\n"))
        system = (start, *encode("system\n")), (*turn_end, *user_opening)
        return TurnMarks((), user_opening, assistant_opening, turn_end, turn_end, system)
    return None


def has_turns(folder: Path) -> bool:
    """Return whether the model with the tokenizer in `folder` was taught turns, or its tokenizer has marks for them."""
    tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text("utf-8"))
    plain = Tokenizer.from_str(without_specials((folder / "tokenizer.json").read_text("utf-8")))

    def encode(text: str) -> list[int]:
        return plain.encode(text, add_special_tokens=False).ids

    return known_turns(tokenizer, names_in(folder), template_of(folder), encode) is not None


def _special_ids(tokenizer: Tokenizer) -> set[int]:
    added_tokens = tokenizer.get_added_tokens_decoder()
    return {number for number, token in added_tokens.items() if token.special}


def _usable_marks(template: str, names: dict[str, str], tokenizer: Tokenizer) -> TurnMarks | None:
    """Return the marks of a template; None where they cannot be told, or where typed text could end a reply."""
    turn_marks = _marks_of_template(template, names, tokenizer) if template else None
    if turn_marks is None or _special_ids(tokenizer).isdisjoint(turn_marks.end):
        return None
    return turn_marks


def _marks_of_template(template: str, names: dict[str, str], tokenizer: Tokenizer) -> TurnMarks | None:
    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False).ids

    may_join = puts_space_in_front(json.loads(tokenizer.to_str()))
    return marks_in(template, names, encode, _special_ids(tokenizer), may_join)


def agreeing_template(folder: Path) -> str:
    """Return a chat template that puts the same marks as `Speech`; "" where the tokenizer's own does."""
    tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text("utf-8"))
    marks = Speech(folder).marks
    turn_marks = TurnMarks(*(getattr(marks, field) for field in TurnMarks._fields))
    if _marks_of_template(template_of(folder), names_in(folder), tokenizer) == turn_marks:
        return ""
    return template_with(turn_marks, lambda ids: tokenizer.decode(list(ids), skip_special_tokens=False))


def template_of(folder: Path) -> str:
    """Return the tokenizer's own chat template; "" if there is none. Raises UserError for one that is not UTF-8."""
    file = folder / FILE
    if file.is_file():
        try:
            return file.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{file} is not UTF-8 ({error}).") from error
    template = read_object(folder / "tokenizer_config.json").get("chat_template")
    return template if isinstance(template, str) else ""


def reads_template(folder: Path) -> bool:
    """Return whether the marks of turns are those of the tokenizer's own chat template."""
    tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text("utf-8"))
    return _usable_marks(template_of(folder), names_in(folder), tokenizer) is not None
