"""Labelled examples as JSON lines, read strictly: every error names its file and line.

    classification  {"text": "...", "label": "..."}
    tokens          {"tokens": ["...", ...], "labels": ["B-PER", "I-PER", "O", ...]}
    text2text       {"input": "...", "output": "..."}
    chat            {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}, ...]}

A null among "tokens" is a hidden word: the model sees its mask token there, and in such a line only the
hidden words are learnt and evaluated. Any line may also have "id"; "group", shared by examples that
belong together (passages of one page) and stay in one split; and "split" (train, validation or test),
which then every line must have. An I- label that continues no entity of its type begins one (as
conlleval and seqeval read it) and is counted. Examples are not divided here (see `splits`), and no
text is changed.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import orjson

from privllm.core.bio_labels import OUTSIDE, as_bio
from privllm.core.errors import UserError
from privllm.core.report import balance
from privllm.core.seed import digest, name_digest
from privllm.core.split import SPLITS

KINDS = ("classification", "tokens", "text2text", "chat")
MAX_FILE_BYTES = 2 << 30
MAX_LINE_BYTES = 4 << 20
BOM = b"\xef\xbb\xbf"
COMMON = {"id", "group", "split"}


@dataclass(frozen=True)
class Classified:
    text: str
    label: str


@dataclass(frozen=True)
class Tagged:
    tokens: tuple[str | None, ...]  # None: hidden
    labels: tuple[str, ...]  # BIO, one for each token; OUTSIDE for words that are not asked

    def asked(self) -> list[int]:
        """Return the places of the words whose labels are learnt and evaluated: the hidden ones, or all."""
        hidden = [place for place, token in enumerate(self.tokens) if token is None]
        return hidden or list(range(len(self.tokens)))


@dataclass(frozen=True)
class InputOutput:
    input: str
    output: str


@dataclass(frozen=True)
class Chat:
    turns: tuple[tuple[str, str], ...]  # (user or assistant, text); the last turn is the assistant's


Content = Classified | Tagged | InputOutput | Chat


@dataclass(frozen=True)
class Example:
    line: int  # from 1
    id: str  # from the line, or a digest of the content
    group: str  # examples of one group share a split; a digest of the input where the line names none
    split: str  # one of SPLITS, or "" where the file names none
    content: Content


@dataclass(frozen=True)
class Dataset:
    path: Path
    kind: str
    examples: tuple[Example, ...]
    counts: dict[str, int]  # lines = blank + repeated + examples; repaired: labels that were read as B-


class InvalidLine(Exception):
    """A line that holds no example; the message says why."""


def read_examples(path: Path, kind: str, labels: tuple[str, ...] = ()) -> Dataset:
    """Return all examples of the file, in its order, each once.

    `labels` are the allowed ones (for tokens: entity types); empty allows all. Raises UserError, which
    names file and line, for a line that is not UTF-8, JSON or of the schema, for an unknown label, for
    two examples with one id, and for a file without examples.
    """
    assert kind in KINDS, kind
    counts: Counter[str] = Counter(lines=0, blank=0, repeated=0, examples=0, repaired=0)
    examples: list[Example] = []
    seen_contents: set[str] = set()
    line_of_id: dict[str, int] = {}
    for number, line in _lines(path):
        counts["lines"] += 1
        if not line.strip():
            counts["blank"] += 1
            continue
        try:
            example, repaired = example_of(number, parse(line), kind, labels)
            content = digest(repr((example.content, example.split)).encode())
            if content in seen_contents:
                counts["repeated"] += 1
                continue
            _check_id(example, line_of_id)
            _check_split_is_given_like(example, examples)
        except InvalidLine as fault:
            raise error_at(path, number, str(fault)) from None
        seen_contents.add(content)
        counts.update(examples=1, repaired=repaired)
        examples.append(example)
    if not examples:
        raise UserError(f"{path} holds no examples: put one {kind} example on each line, for example {SHAPES[kind]}.")
    balance(counts["lines"], counts["blank"], counts["repeated"], counts["examples"])
    return Dataset(path, kind, tuple(examples), dict(counts))


def _check_id(example: Example, line_of_id: dict[str, int]) -> None:
    line = line_of_id.setdefault(example.id, example.line)
    if line != example.line:
        raise InvalidLine(f"the id {_short(example.id)} stands on line {line} already; every example needs its own")


def _check_split_is_given_like(example: Example, earlier: list[Example]) -> None:
    if earlier and bool(example.split) != bool(earlier[0].split):
        raise InvalidLine('some lines have "split" and others have none; give it to all of them, or to none')


def line_error(dataset: Dataset, example: Example, fault: str) -> UserError:
    """Return the error for one example of a dataset, for faults that are noticed after reading."""
    return error_at(dataset.path, example.line, fault)


def input_of(content: Content) -> str:
    """Return what a model reads of an example; equal inputs share a split."""
    match content:
        case Classified(text, _):
            return text
        case Tagged(tokens, _):
            return "\x1f".join(token or "" for token in tokens)
        case InputOutput(text, _):
            return text
        case Chat(turns):
            return "\x1e".join("\x1f".join(turn) for turn in turns[:-1])


SHAPES = {
    "classification": '{"text": "...", "label": "..."}',
    "tokens": '{"tokens": ["Ada", "wrote"], "labels": ["B-PER", "O"]}',
    "text2text": '{"input": "...", "output": "..."}',
    "chat": '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}',
}
KEYS = {
    "classification": {"text", "label"},
    "tokens": {"tokens", "labels"},
    "text2text": {"input", "output"},
    "chat": {"messages"},
}


def error_at(path: Path | str, number: int, fault: str) -> UserError:
    """Return the error for a line of a file."""
    return UserError(f"{path}, line {number}: {fault}. Fix that line, or take it out.")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, bytes) of each line of the file."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise UserError(f"{path} has {size:,} bytes; a dataset may have {MAX_FILE_BYTES:,}: cut it down.")
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise error_at(path, number, f"it is longer than {MAX_LINE_BYTES:,} bytes")
                yield number, line.removeprefix(BOM) if number == 1 else line
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing: put the dataset there, or name another file under `data` in params.yaml."
        ) from None


def example_of(
    number: int,
    value: Any,
    kind: str,
    labels: tuple[str, ...] = (),
) -> tuple[Example, int]:
    """Return the example that a line's JSON holds, and how many of its labels were read as B-.

    Raises InvalidLine.
    """
    if not isinstance(value, dict):
        _fail(kind, "it must be a JSON object")
    _check_keys(kind, value)
    content, repaired = _content(kind, value, labels)
    identifier, group, split = (_text(value, key) if key in value else "" for key in ("id", "group", "split"))
    if split and split not in SPLITS:
        raise InvalidLine(f'"split" is {_short(split)}; it must be one of {", ".join(SPLITS)}')
    identifier = identifier or name_digest(kind, repr(content), split)
    group = group or digest(input_of(content).encode())
    return Example(number, identifier, group, split, content), repaired


def _check_keys(kind: str, value: dict[str, Any]) -> None:
    missing = sorted(KEYS[kind] - set(value))
    unknown = sorted(set(value) - KEYS[kind] - COMMON)
    faults = []
    if missing:
        faults.append(f"{_quoted(missing)} is missing")
    if unknown:
        faults.append(f"{_quoted(unknown)} is unknown")
    if faults:
        _fail(kind, " and ".join(faults))


def parse(line: bytes) -> Any:
    """Return a line's JSON value. Raises InvalidLine."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as broken:
            raise InvalidLine(f"byte {broken.start + 1} is not UTF-8; save the file as UTF-8") from None
        raise InvalidLine(f"it is not JSON ({error})") from None


def _content(kind: str, value: dict[str, Any], labels: tuple[str, ...]) -> tuple[Content, int]:
    if kind == "classification":
        label = _text(value, "label")
        _check_label(label, labels)
        return Classified(_text(value, "text"), label), 0
    if kind == "tokens":
        return _tagged(value, labels)
    if kind == "text2text":
        return InputOutput(_text(value, "input"), _text(value, "output")), 0
    return _chat(value), 0


def _tagged(value: dict[str, Any], labels: tuple[str, ...]) -> tuple[Tagged, int]:
    """Return the tagged words, and how many of their labels were read as B-."""
    tokens, tags = value["tokens"], value["labels"]
    if not isinstance(tokens, list) or not tokens or not all(map(_is_token, tokens)):
        raise InvalidLine('"tokens" must be a list of strings that are not empty (or null, for a word that is hidden)')
    if not isinstance(tags, list) or not all(isinstance(tag, str) and tag for tag in tags):
        raise InvalidLine('"labels" must be a list of strings that are not empty')
    if len(tokens) != len(tags):
        raise InvalidLine(f"it has {len(tokens)} tokens but {len(tags)} labels")
    for tag in tags:
        _check_tag(tag, labels)
    bio_tags = as_bio(tuple(tags))
    content = Tagged(tuple(tokens), bio_tags)
    asked = set(content.asked())
    if any(tag != OUTSIDE and place not in asked for place, tag in enumerate(bio_tags)):
        raise InvalidLine(
            "it hides words (null), but gives a label to one that is not hidden: only hidden words are learnt there; make it O",
        )
    repaired = sum(read != written for read, written in zip(bio_tags, tags, strict=True))
    return content, repaired


def _is_token(value: Any) -> bool:
    return value is None or (isinstance(value, str) and bool(value))


def _check_tag(tag: str, labels: tuple[str, ...]) -> None:
    if tag == OUTSIDE:
        return
    prefix, entity_type = tag[:2], tag[2:]
    if prefix not in ("B-", "I-") or not entity_type:
        raise InvalidLine(f"the label {_short(tag)} is neither O nor B-TYPE nor I-TYPE")
    _check_label(entity_type, labels)


def _chat(value: dict[str, Any]) -> Chat:
    messages = value["messages"]
    if not isinstance(messages, list) or len(messages) < 2:
        _fail("chat", '"messages" must be a list of at least two')
    turns = []
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            _fail("chat", f'message {place + 1} must be an object with "role" and "content"')
        role = ("user", "assistant")[place % 2]
        if message["role"] != role:
            raise InvalidLine(
                f"message {place + 1} must be the {role}'s: user and assistant take turns, the user begins"
            )
        turns.append((role, _text(message, "content")))
    if len(turns) % 2:
        raise InvalidLine("the last message must be the assistant's: it is what is learnt")
    return Chat(tuple(turns))


def _text(value: dict[str, Any], key: str) -> str:
    text = value[key]
    if not isinstance(text, str) or not text.strip():
        raise InvalidLine(f'"{key}" must be a string with something in it')
    return text


def _check_label(label: str, labels: tuple[str, ...]) -> None:
    if labels and label not in labels:
        raise InvalidLine(f"the label {_short(label)} is unknown; params.yaml lists {', '.join(labels)}")


def _fail(kind: str, fault: str) -> NoReturn:
    raise InvalidLine(f"{fault}; a line of {kind} looks like {SHAPES[kind]}")


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{_short(key)}"' for key in keys)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
