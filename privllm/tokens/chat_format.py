"""Turns of a conversation as token ids: what opens a turn, what ends it, and how much of a conversation fits.

What is learnt, what is judged and what is served must be read alike, so marks are put around what people say here and nowhere else.
Nothing in a text can become a mark: contents are encoded without special tokens (`encoding`), and marks are put in as ids. HF
`tokenizers` does the work, for it reads everybody's files, and conversations are few. No model here.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from privllm.tokens.chat_template import FILE, TurnMarks, marks_in, template_with
from privllm.tokens.encode import without_specials

ROLES = ("user", "assistant")
Turn = tuple[str, str]  # one of ROLES, what was said


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

    @property
    def ends(self) -> tuple[int, ...]:
        """The tokens at which a reply is over."""
        return tuple(dict.fromkeys((self.stop, self.end[0])))


class Dialogue(NamedTuple):
    """Turns of which the assistant's is the last."""

    tokens: list[int]
    learnt: list[bool]  # whether the assistant says a token; the first of the mark that ends its turn counts too
    answer_at: int  # where the last turn's text begins
    cut: bool  # whether not all of it fitted


class Exchange(NamedTuple):
    """What is to be answered, and answers to it."""

    prompt: list[int]  # up to where a model goes on
    replies: list[list[int]]  # each with the token that ends it
    cut: bool


class Speech:
    """A tokenizer and its marks."""

    def __init__(self, folder: Path) -> None:
        text = (folder / "tokenizer.json").read_text("utf-8")
        self.plain = Tokenizer.from_str(without_specials(text))
        self.marks = marks_of(text, self.ids, folder)
        names = (_named(folder).get("mask_token"), "<|mask|>", "[MASK]", "<mask>")
        ids = (Tokenizer.from_str(text).token_to_id(name) for name in names if name)
        self.mask = next((number for number in ids if number is not None), None)  # what a masked model sees of a hidden word

    def ids(self, text: str) -> list[int]:
        return self.plain.encode(text, add_special_tokens=False).ids

    def text(self, ids: Sequence[int]) -> str:
        """What a model wrote, up to its first mark of an end."""
        ends = [place for place, token in enumerate(ids) if token in (self.marks.stop, self.marks.end[0], self.marks.pad)]
        return self.plain.decode(list(ids)[: ends[0] if ends else None], skip_special_tokens=False).strip()

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """All turns, and the opening of the assistant's next."""
        said = [token for role, text in turns for token in (*self._opening(role), *self.ids(text), *self.marks.end)]
        return [*self.marks.begin, *said, *self.marks.assistant]

    def least(self, reply: str) -> int:
        """Tokens of the shortest dialogue that has this reply."""
        marks = self.marks
        return len(marks.begin) + len(marks.user) + len(marks.end) + len(marks.assistant) + len(self.ids(reply)) + len(marks.end)

    def dialogue(self, turns: Sequence[Turn], context: int) -> Dialogue | None:
        """The turns in at most `context + 1` tokens (the last is only ever a label); None where the reply alone does not fit.

        The oldest turns leave first, up to a question each time; then the last question is cut at its end.
        """
        marks, room = self.marks, context + 1
        said = [self.ids(text) for _, text in turns]
        sizes = [len(self._opening(role)) + len(ids) + len(marks.end) for (role, _), ids in zip(turns, said, strict=True)]
        starts = [0, *(i for i, (role, _) in enumerate(turns[:-1]) if i and role == "user")]
        asked = starts[-1]
        spare = room - len(marks.begin) - sum(sizes[asked:]) + len(said[asked])
        if spare < 1:
            return None
        first = next((i for i in starts if len(marks.begin) + sum(sizes[i:]) <= room), asked)
        cut = first > 0 or len(said[asked]) > spare
        if first == asked:
            said[asked] = said[asked][:spare]
        tokens, learnt, answer_at = list(marks.begin), [False] * len(marks.begin), 0
        for (role, _), ids in list(zip(turns, said, strict=True))[first:]:
            opening = self._opening(role)
            answer_at = len(tokens) + len(opening)
            tokens += [*opening, *ids, *marks.end]
            learnt += [False] * len(opening) + [role == "assistant"] * (len(ids) + 1) + [False] * (len(marks.end) - 1)
        return Dialogue(tokens, learnt, answer_at, cut)

    def exchange(self, turns: Sequence[Turn], replies: Sequence[str], context: int) -> Exchange | str:
        """Replies to one prompt, cut where the longest asks for it; or why they cannot be used: empty, system, same, too_long."""
        if any(not reply.strip() for reply in replies):
            return "empty"
        if any(role not in ROLES for role, _ in turns):
            return "system"  # `serve` refuses it too
        encoded = [[*self.ids(reply), self.marks.end[0]] for reply in replies]
        if len({tuple(reply) for reply in encoded}) < len(encoded):
            return "same"
        longest = max(zip(encoded, replies, strict=True), key=lambda pair: len(pair[0]))[1]
        dialogue = self.dialogue([*turns, ("assistant", longest)], context)
        return Exchange(dialogue.tokens[: dialogue.answer_at], encoded, dialogue.cut) if dialogue else "too_long"

    def _opening(self, role: str) -> tuple[int, ...]:
        return self.marks.user if role == "user" else self.marks.assistant


def marks_of(tokenizer_json: str, encode: Callable[[str], list[int]], folder: Path) -> Marks:
    """The marks of our own tokenizers, of a chat template, of ChatML, of BERT; any other tokenizer's end of text serves for all."""
    known = Tokenizer.from_str(tokenizer_json)
    names = _named(folder)
    find = known.token_to_id
    stop = next((i for name in (names.get("eos_token"), "<|endoftext|>", "</s>", "[SEP]") if name and (i := find(name)) is not None), 0)
    pad = next((i for name in (names.get("pad_token"), "<|pad|>", "<pad>", "[PAD]") if name and (i := find(name)) is not None), stop)
    user, assistant, end = (find(f"<|{name}|>") for name in ("user", "assistant", "end"))
    if user is not None and assistant is not None and end is not None:
        return Marks((stop,), (user,), (assistant,), (end,), stop, pad, ((stop,), (stop,)))
    special = {number for number, token in known.get_added_tokens_decoder().items() if token.special}
    if template := template_of(folder):
        found = marks_in(template, names, lambda text: known.encode(text, add_special_tokens=False).ids)
        if found and found.end[0] in special:  # or a reply would end where somebody types the same
            return Marks(*found, stop, pad, ((), (stop,)))
    start, end = find("<|im_start|>"), find("<|im_end|>")
    if start is not None and end is not None:
        return Marks((), (start, *encode("user\n")), (start, *encode("assistant\n")), (end, *encode("\n")), stop, pad, ((), (stop,)))
    first, last = find("[CLS]"), find("[SEP]")
    around = ((first,), (last,)) if first is not None and last is not None else ((), (stop,))
    return Marks((), (), tuple(encode("\n")), (stop,), stop, pad, around)


def agreeing_template(folder: Path) -> str:
    """A chat template that puts the marks `Speech` puts; nothing where the tokenizer's own does."""
    text, marks = (folder / "tokenizer.json").read_text("utf-8"), Speech(folder).marks
    known, wanted = Tokenizer.from_str(text), TurnMarks(marks.begin, marks.user, marks.assistant, marks.end)
    found = marks_in(template_of(folder), _named(folder), lambda text: known.encode(text, add_special_tokens=False).ids)
    return "" if found == wanted else template_with(wanted, lambda ids: known.decode(list(ids), skip_special_tokens=False))


def template_of(folder: Path) -> str:
    """The tokenizer's own chat template, or nothing."""
    file, config = folder / FILE, folder / "tokenizer_config.json"
    if file.is_file():
        return file.read_text("utf-8")
    found = json.loads(config.read_text("utf-8")).get("chat_template") if config.is_file() else None
    return found if isinstance(found, str) else ""


def _named(folder: Path) -> dict[str, str]:
    """Special tokens by their role, as tokenizer_config.json names them."""
    path = folder / "tokenizer_config.json"
    values = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    named = {key: value for key, value in values.items() if key.endswith("_token") and value}
    return {key: value["content"] if isinstance(value, dict) else value for key, value in named.items()}
