"""Ratings and votes as they are stored in data/feedback: one JSON object per line, keys as the fields below.

    ratings.jsonl   Rating   a thumb, a written correction and a reason for one reply;
                             a later line with the same `id` replaces an earlier one
    votes.jsonl     Vote     which of two blind replies to the same messages was better

Records are defined, read and checked here; `serve.feedback_export` writes them. People are named only
by the pseudonym that they typed, or by their access token's name.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from privllm.core.errors import UserError

Thumb = Literal["up", "down", ""]
Choice = Literal["left", "right", "tie", "both_bad"]
Record = TypeVar("Record")


@dataclass(frozen=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Model:
    """The model that replied: equal digests are equal weights."""

    name: str
    revision: str  # git commit it was fetched from; "" where it was served from a folder or another server
    digest: str  # of the weights, as its provenance.json says; "" where another server would not say


@dataclass(frozen=True)
class Decoding:
    """Sampling parameters of a reply."""

    temperature: float
    top_p: float
    max_tokens: int
    seed: int


@dataclass(frozen=True)
class Rating:
    id: str  # of the reply
    edition: int  # 1, and one more whenever it was changed after an export
    rater: str
    time: str  # ISO 8601, UTC
    model: Model
    messages: tuple[Message, ...]  # what the model was given, the last one is the person's
    reply: str  # of the model; incomplete if it was cancelled
    decoding: Decoding
    thumb: Thumb  # "" if there was none
    correction: str  # what the model should have said; "" if nothing was written
    reason: str


@dataclass(frozen=True)
class ModelReply:
    model: Model
    text: str


@dataclass(frozen=True)
class Vote:
    id: str  # of the match
    rater: str
    time: str
    messages: tuple[Message, ...]
    left: ModelReply  # as the voter saw them
    right: ModelReply
    decoding: Decoding
    choice: Choice
    reason: str


def to_line(record: Rating | Vote) -> str:
    """Return one line of JSON, without the line end."""
    return json.dumps(asdict(record), ensure_ascii=False, allow_nan=False)


def from_plain(schema: type[Record], plain: Any, where: str = "") -> Record:
    """Return a `schema` filled from plain values.

    Raises ValueError, which names the field, if a field is missing, unknown, or of another type.
    """
    if not isinstance(plain, Mapping):
        raise ValueError(f"`{where or 'record'}` must be an object")
    hints = _hints(schema)  # type: ignore[arg-type]
    names = [field.name for field in fields(schema)]  # type: ignore[arg-type]
    for name in sorted(set(plain) - set(names)):
        raise ValueError(f"`{_dotted(where, name)}` is unknown")
    for name in names:
        if name not in plain:
            raise ValueError(f"`{_dotted(where, name)}` is missing")
    values = {name: _value(hints[name], plain[name], _dotted(where, name)) for name in names}
    return schema(**values)


@cache
def _hints(schema: type) -> dict[str, Any]:
    return get_type_hints(schema)  # half of the time that reading a record takes


def _value(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        return from_plain(hint, value, where)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"`{where}` must be a list")
        item_hint = get_args(hint)[0]
        return tuple(_value(item_hint, item, f"{where}[{i}]") for i, item in enumerate(value))
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        if value not in choices:
            raise ValueError(f"`{where}` must be one of {', '.join(map(repr, choices))}")
        return value
    allowed_types = (int, float) if hint is float else (hint,)
    is_unwanted_bool = isinstance(value, bool) and hint is not bool
    if is_unwanted_bool or not isinstance(value, allowed_types):
        raise ValueError(f"`{where}` must be of type {hint.__name__}")
    return hint(value)


def _dotted(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def read_ratings(path: Path) -> list[Rating]:
    """Return the last edition of every rating, in the order in which replies were first rated.

    There are none if there is no file. Raises UserError, which names the line, for a malformed rating.
    """
    return list({rating.id: rating for rating in _read(Rating, path)}.values())


def read_votes(path: Path) -> list[Vote]:
    """Return every vote, in the order of the file, as `read_ratings` does."""
    return list({vote.id: vote for vote in _read(Vote, path)}.values())


def _read(schema: type[Record], path: Path) -> list[Record]:
    if not path.is_file():
        return []
    records = []
    lines = path.read_bytes().splitlines()  # bytes, since text would be split at U+2028 too
    for number, line in enumerate(lines, 1):
        try:
            records.append(from_plain(schema, json.loads(line)))
        except ValueError as error:
            kind = schema.__name__.lower()
            raise UserError(f"{path}, line {number} is no {kind}: {error}. Fix or delete the line.") from error
    return records
