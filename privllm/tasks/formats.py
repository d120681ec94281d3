"""Labelled examples as JSON lines: read strictly, every fault named with its file and line.

    classification  {"text": "...", "label": "..."}
    tokens          {"tokens": ["...", ...], "labels": ["B-PER", "I-PER", "O", ...]}
    text2text       {"input": "...", "output": "..."}
    chat            {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}, ...]}

A null among "tokens" is a hidden word: the model sees its mask there, and of such a line only the hidden words are learnt and judged.
Any line may also have "id"; "group", shared by examples that belong together (passages of one page), which stay on one side of the
split; and "split" (train, validation or test), which then every line must have. An I- label that continues no entity of its type
begins one (as conlleval and seqeval read it) and is counted. It does not divide the examples (`splits`) and mends no text.
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
COMMON = {"id", "group", "split"}


@dataclass(frozen=True)
class Classified:
    text: str
    label: str


@dataclass(frozen=True)
class Tagged:
    tokens: tuple[str | None, ...]  # None: hidden
    labels: tuple[str, ...]  # BIO, one for each token; OUTSIDE for those that are not asked

    def asked(self) -> list[int]:
        """Places of the words whose labels are learnt and judged: the hidden ones, or all."""
        return [place for place, token in enumerate(self.tokens) if token is None] or list(range(len(self.tokens)))


@dataclass(frozen=True)
class InputOutput:
    input: str
    output: str


@dataclass(frozen=True)
class Chat:
    turns: tuple[tuple[str, str], ...]  # (user or assistant, what was said); the last is the assistant's


Content = Classified | Tagged | InputOutput | Chat


@dataclass(frozen=True)
class Example:
    line: int  # from 1
    id: str  # its own, or a digest of what it holds
    group: str  # what shares a split with it; a digest of the input where the line names none
    split: str  # one of SPLITS, or "" where the file leaves that to us
    content: Content


@dataclass(frozen=True)
class Dataset:
    path: Path
    kind: str
    examples: tuple[Example, ...]
    counts: dict[str, int]  # lines = blank + repeated + examples; repaired is how many labels were read as B-


class InvalidLine(Exception):
    """What is wrong with a line."""


def read_examples(path: Path, kind: str, labels: tuple[str, ...] = ()) -> Dataset:
    """All examples of the file, in its order, each once.

    `labels` are the ones allowed (for tokens: entity types); empty allows all. Raises UserError, which names file and line, for
    what is no UTF-8 or JSON, a wrong schema, an unknown label, two examples with one id; and for a file without examples.
    """
    assert kind in KINDS, kind
    counts: Counter[str] = Counter(lines=0, blank=0, repeated=0, examples=0, repaired=0)
    examples: list[Example] = []
    first: dict[str, int] = {}  # line of each content
    ids: dict[str, int] = {}
    for number, line in _lines(path):
        counts["lines"] += 1
        if not line.strip():
            counts["blank"] += 1
            continue
        try:
            example, repaired = example_of(number, parse(line), kind, labels)
            what = digest(repr((example.content, example.split)).encode())
            if what in first:
                counts["repeated"] += 1
                continue
            if ids.setdefault(example.id, number) != number:
                raise InvalidLine(f"the id {_short(example.id)} stands on line {ids[example.id]} already; every example needs its own")
            if examples and bool(example.split) != bool(examples[0].split):
                raise InvalidLine('some lines have "split" and others have none; give it to all of them, or to none')
        except InvalidLine as fault:
            raise error_at(path, number, str(fault)) from None
        first[what] = number
        counts.update(examples=1, repaired=repaired)
        examples.append(example)
    if not examples:
        raise UserError(f"{path} holds no examples: put one {kind} example on each line, for example {SHAPES[kind]}.")
    balance(counts["lines"], counts["blank"], counts["repeated"], counts["examples"])
    return Dataset(path, kind, tuple(examples), dict(counts))


def line_error(dataset: Dataset, example: Example, what: str) -> UserError:
    """The error for one example of a dataset, for whoever finds a fault later on."""
    return error_at(dataset.path, example.line, what)


def input_of(content: Content) -> str:
    """What a model is given of an example; equal inputs share a split."""
    match content:
        case Classified(text, _):
            return text
        case Tagged(tokens, _):
            return "\x1f".join(token or "" for token in tokens)
        case InputOutput(given, _):
            return given
        case Chat(turns):
            return "\x1e".join("\x1f".join(turn) for turn in turns[:-1])


SHAPES = {
    "classification": '{"text": "...", "label": "..."}',
    "tokens": '{"tokens": ["Ada", "wrote"], "labels": ["B-PER", "O"]}',
    "text2text": '{"input": "...", "output": "..."}',
    "chat": '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}',
}
KEYS = {"classification": {"text", "label"}, "tokens": {"tokens", "labels"}, "text2text": {"input", "output"}, "chat": {"messages"}}


def error_at(path: Path | str, number: int, what: str) -> UserError:
    return UserError(f"{path}, line {number}: {what}. Mend that line, or take it out.")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
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
                yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
    except FileNotFoundError:
        raise UserError(f"{path} is missing: put the dataset there, or name another file under `data` in params.yaml.") from None


def example_of(number: int, value: Any, kind: str, labels: tuple[str, ...] = ()) -> tuple[Example, int]:
    """The example that a line's JSON says, and how many of its labels were read as B-. Raises InvalidLine."""
    if not isinstance(value, dict):
        _fail(kind, "it must be a JSON object")
    missing, unknown = sorted(KEYS[kind] - set(value)), sorted(set(value) - KEYS[kind] - COMMON)
    if missing or unknown:
        faults = [f"{_names(missing)} is missing"] * bool(missing) + [f"{_names(unknown)} is unknown"] * bool(unknown)
        _fail(kind, " and ".join(faults))
    content, repaired = _content(kind, value, labels)
    common = {key: _text(value, key) if key in value else "" for key in sorted(COMMON)}
    if common["split"] and common["split"] not in SPLITS:
        raise InvalidLine(f'"split" is {_short(common["split"])}; it must be one of {", ".join(SPLITS)}')
    group = common["group"] or digest(input_of(content).encode())
    return Example(number, common["id"] or name_digest(kind, repr(content), common["split"]), group, common["split"], content), repaired


def parse(line: bytes) -> Any:
    """A line's JSON. Raises InvalidLine."""
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
    tokens, tags = value["tokens"], value["labels"]
    if not isinstance(tokens, list) or not tokens or not all(token is None or (isinstance(token, str) and token) for token in tokens):
        raise InvalidLine('"tokens" must be a list of strings that are not empty (or null, for a word that is hidden)')
    if not isinstance(tags, list) or not all(isinstance(tag, str) and tag for tag in tags):
        raise InvalidLine('"labels" must be a list of strings that are not empty')
    if len(tokens) != len(tags):
        raise InvalidLine(f"it has {len(tokens)} tokens but {len(tags)} labels")
    for tag in tags:
        if tag != OUTSIDE and not (tag[:2] in ("B-", "I-") and tag[2:]):
            raise InvalidLine(f"the label {_short(tag)} is neither O nor B-TYPE nor I-TYPE")
        if tag != OUTSIDE:
            _check_label(tag[2:], labels)
    read = as_bio(tuple(tags))
    content = Tagged(tuple(tokens), read)
    if any(tag != OUTSIDE for place, tag in enumerate(read) if place not in set(content.asked())):
        raise InvalidLine(
            "it hides words (null), but gives a label to one that is not hidden: only hidden words are learnt there; make it O"
        )
    return content, sum(a != b for a, b in zip(read, tags, strict=True))


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
            raise InvalidLine(f"message {place + 1} must be the {role}'s: user and assistant take turns, the user begins")
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


def _fail(kind: str, what: str) -> NoReturn:
    raise InvalidLine(f"{what}; a line of {kind} looks like {SHAPES[kind]}")


def _names(keys: list[str]) -> str:
    return ", ".join(f'"{_short(key)}"' for key in keys)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
