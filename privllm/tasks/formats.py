"""Labelled examples: their contents by kind, and the lines of JSON that hold them.

    classification  {"text": "...", "label": "..."}
    tokens          {"tokens": ["...", ...], "labels": ["B-PER", "I-PER", "O", ...]}
    text2text       {"input": "...", "output": "..."}
    chat            {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}, ...]}

A null among "tokens" is a hidden word: the model sees its mask token there, and in such a line only the
hidden words are learnt and evaluated. Any line may also have "id"; "group", shared by examples that
belong together (passages of one page) and stay in one split; and "split" (train, validation or test),
which then every line must have. An I- label that continues no entity of its type begins one (as
conlleval and seqeval read it) and is counted. Other forms are turned into these lines first
(`dataset_forms`), files are read in `read_dataset`, and examples are divided in `splits`.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from privllm.core.bio_labels import OUTSIDE, as_bio
from privllm.core.errors import UserError
from privllm.core.seed import digest, name_digest
from privllm.core.split import SPLITS
from privllm.tasks.chat_turns import Turn, turns_of
from privllm.tasks.line_faults import InvalidLine, error_at, quoted, short, text_of

KINDS = ("classification", "tokens", "text2text", "chat")
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
    question: str = field(default="", repr=False)  # with which the input begins, where a context follows it


@dataclass(frozen=True)
class Chat:
    turns: tuple[Turn, ...]  # the system's is the first, where there is one; the last is the assistant's


Content = Classified | Tagged | InputOutput | Chat


@dataclass(frozen=True)
class Example:
    line: int  # or row, from 1
    id: str  # from the line, or a digest of the content
    group: str  # examples of one group share a split; a digest of the input where the line names none
    split: str  # one of SPLITS, or "" where the file names none
    content: Content


class Skipped(NamedTuple):
    """A row that could not be used."""

    line: int
    reason: str  # one word, to count by
    fault: str


@dataclass(frozen=True)
class Dataset:
    path: Path
    kind: str
    examples: tuple[Example, ...]
    counts: dict[str, int]  # lines = blank + repeated + skipped + examples; and what was changed in them, by name
    unit: str = "line"  # of the file, or "row"
    form: str = ""  # that the file has, see `dataset_forms`
    notes: tuple[str, ...] = ()  # sentences for people
    skipped: tuple[Skipped, ...] = ()  # in the file's order


def line_error(dataset: Dataset, example: Example, fault: str) -> UserError:
    """Return the error for one example of a dataset, for faults that are noticed after reading."""
    return error_at(dataset.path, example.line, fault, dataset.unit)


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


def example_of(
    number: int,
    value: Any,
    kind: str,
    labels: tuple[str, ...] = (),
) -> tuple[Example, Counter[str]]:
    """Return the example that a line's JSON holds, and how often what was changed in it (repaired: labels that were read as B-).

    `labels` are the allowed ones (for tokens: entity types); empty allows all. Raises InvalidLine.
    """
    if not isinstance(value, dict):
        _fail(kind, "it must be a JSON object", "wrong_type")
    _check_keys(kind, value)
    content, changes = _content(kind, value, labels)
    identifier, group, split = (_text(value, key) if key in value else "" for key in ("id", "group", "split"))
    if split and split not in SPLITS:
        raise InvalidLine(f'"split" is {short(split)}; it must be one of {", ".join(SPLITS)}', "unknown_split")
    identifier = identifier or id_of(kind, content, split)
    group = group or digest(input_of(content).encode())
    return Example(number, identifier, group, split, content), changes


def id_of(kind: str, content: Content, split: str) -> str:
    """Return the id of an example whose line gives it none."""
    return name_digest(kind, repr(content), split)


def _check_keys(kind: str, value: dict[str, Any]) -> None:
    missing = sorted(KEYS[kind] - set(value))
    unknown = sorted(set(value) - KEYS[kind] - COMMON)
    faults = []
    if missing:
        faults.append(f"{quoted(missing)} is missing")
    if unknown:
        faults.append(f"{quoted(unknown)} is unknown")
    if faults:
        _fail(kind, " and ".join(faults), "missing" if missing else "unknown_column")


def _content(kind: str, value: dict[str, Any], labels: tuple[str, ...]) -> tuple[Content, Counter[str]]:
    if kind == "classification":
        label = _text(value, "label")
        _check_label(label, labels)
        return Classified(_text(value, "text"), label), Counter()
    if kind == "tokens":
        return _tagged(value, labels)
    if kind == "text2text":
        return InputOutput(_text(value, "input"), _text(value, "output")), Counter()
    turns, changes = turns_of(value["messages"])
    return Chat(turns), changes


def _tagged(value: dict[str, Any], labels: tuple[str, ...]) -> tuple[Tagged, Counter[str]]:
    """Return the tagged words, and how many of their labels were read as B-."""
    tokens, tags = value["tokens"], value["labels"]
    if not isinstance(tokens, list) or not tokens or not all(map(_is_token, tokens)):
        fault = '"tokens" must be a list of strings that are not empty (or null, for a word that is hidden)'
        raise InvalidLine(fault, "wrong_type")
    if not isinstance(tags, list) or not all(isinstance(tag, str) and tag for tag in tags):
        raise InvalidLine('"labels" must be a list of strings that are not empty', "wrong_type")
    if len(tokens) != len(tags):
        raise InvalidLine(f"it has {len(tokens)} tokens but {len(tags)} labels", "unlike_lengths")
    for tag in tags:
        _check_tag(tag, labels)
    bio_tags = as_bio(tuple(tags))
    content = Tagged(tuple(tokens), bio_tags)
    asked = set(content.asked())
    if any(tag != OUTSIDE and place not in asked for place, tag in enumerate(bio_tags)):
        raise InvalidLine(
            "it hides words (null), but gives a label to one that is not hidden: only hidden words are learnt there; make it O",
            "label_not_hidden",
        )
    repaired = sum(read != written for read, written in zip(bio_tags, tags, strict=True))
    return content, Counter(repaired=repaired)


def _is_token(value: Any) -> bool:
    return value is None or (isinstance(value, str) and bool(value) and "\0" not in value)


def _check_tag(tag: str, labels: tuple[str, ...]) -> None:
    if tag == OUTSIDE:
        return
    prefix, entity_type = tag[:2], tag[2:]
    if prefix not in ("B-", "I-") or not entity_type:
        raise InvalidLine(f"the label {short(tag)} is neither O nor B-TYPE nor I-TYPE", "not_bio")
    _check_label(entity_type, labels)


def _text(value: dict[str, Any], key: str) -> str:
    return text_of(value[key], f'"{key}"')


def _check_label(label: str, labels: tuple[str, ...]) -> None:
    if labels and label not in labels:
        raise InvalidLine(
            f"the label {short(label)} is unknown; params.yaml lists {', '.join(labels)}", "unknown_label"
        )


def _fail(kind: str, fault: str, reason: str) -> NoReturn:
    raise InvalidLine(f"{fault}; a line of {kind} looks like {SHAPES[kind]}", reason)
