"""Files of feedback, line by line: a rating or a vote as `feedback.records` defines them, or the reason why a line is neither.

Anybody may have written these files, so nothing here stops at a bad line, holds a long one in memory, or repeats what a bad line says:
a refusal names its place, its digest and the field, and the person who may see the file can look there. It judges form, not content.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

from privllm.core.seed import ID_BYTES
from privllm.feedback.records import Rating, Vote, from_plain

BOM = b"\xef\xbb\xbf"
NAME_CHARACTERS = 200  # of an id or a rater at most
DETAIL_CHARACTERS = 120


class SourceLine(NamedTuple):
    source: str  # "votes.jsonl#12": file below the folder, and line from 1
    digest: str  # of its bytes, as `seed.digest` makes it
    bytes: int


class ParsedLine(NamedTuple):
    line: SourceLine
    record: Rating | Vote


class RefusedLine(NamedTuple):
    line: SourceLine
    reason: str  # too_long, encoding, json, schema; later steps have more
    detail: str


def read_files(folder: Path, max_bytes: int) -> Iterator[ParsedLine | RefusedLine]:
    """Every line of every `*.jsonl` at or below `folder`, in the order of names; lines of white space are left out."""
    for path in files_of(folder):
        with path.open("rb") as file:
            for number, (start, digest, size) in enumerate(lines_of(file, max_bytes), 1):
                line = SourceLine(f"{path.relative_to(folder).as_posix()}#{number}", digest, size)
                if size > max_bytes:
                    yield RefusedLine(line, "too_long", f"{size:,} bytes")
                elif start.removeprefix(BOM).strip():
                    yield understand(line, start)


def files_of(folder: Path) -> list[Path]:
    return sorted((path for path in folder.rglob("*.jsonl") if path.is_file()), key=lambda path: path.relative_to(folder).as_posix())


def lines_of(file: BinaryIO, max_bytes: int) -> Iterator[tuple[bytes, str, int]]:
    """(its first `max_bytes` at most, digest, bytes) of every line, without the line end."""
    while part := file.readline(max_bytes + 1):
        start, hashed, size = part[:max_bytes].removesuffix(b"\n"), blake2b(digest_size=ID_BYTES), 0
        while part:
            kept = part.removesuffix(b"\n")
            hashed.update(kept)
            size += len(kept)
            part = b"" if part.endswith(b"\n") else file.readline(1 << 20)
        yield start, hashed.hexdigest(), size


def understand(line: SourceLine, raw: bytes) -> ParsedLine | RefusedLine:
    try:
        plain = json.loads(raw.removeprefix(BOM).decode("utf-8"), parse_constant=_no_number)
    except UnicodeDecodeError as error:
        return RefusedLine(line, "encoding", f"not UTF-8 at byte {error.start}")
    except RecursionError:
        return RefusedLine(line, "json", "nested too deeply")
    except ValueError as error:
        return RefusedLine(line, "json", _short(error))
    try:
        record: Rating | Vote = from_plain(Vote, plain) if isinstance(plain, dict) and "choice" in plain else from_plain(Rating, plain)
        check_names(record)
        moment(record)
    except (ValueError, OverflowError) as error:
        return RefusedLine(line, "schema", _short(error))
    return ParsedLine(line, record)


def check_names(record: Rating | Vote) -> None:
    """Raise ValueError unless id, rater and what is known of models are short and printable; of a model nothing may be known."""
    for name in ("id", "rater"):
        value = getattr(record, name)
        if not (value.strip() and value.isprintable() and len(value) <= NAME_CHARACTERS):
            raise ValueError(f"`{name}` must be 1 to {NAME_CHARACTERS} printable characters")
    models = {"left.": record.left.model, "right.": record.right.model} if isinstance(record, Vote) else {"": record.model}
    for side, model in models.items():
        for name, value in asdict(model).items():
            if not (value.isprintable() and len(value) <= NAME_CHARACTERS):
                raise ValueError(f"`{side}model.{name}` must be at most {NAME_CHARACTERS} printable characters")


def moment(record: Rating | Vote) -> float:
    """Seconds since 1970 of its time; without a zone it is UTC. Raises ValueError where it is no ISO 8601."""
    try:
        time = datetime.fromisoformat(record.time)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError("`time` must be ISO 8601") from None


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _short(error: Any) -> str:
    """What is wrong, without what is not printable: a key may hold anything."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in str(error))[:DETAIL_CHARACTERS]
