"""Reader of feedback files: each line is a rating or a vote (`feedback.records`), or is refused with a reason.

Anybody may have written these files, so a bad line does not stop the reader, a long line is not held
in memory, and nothing that a bad line says is repeated: a refusal names the line's place, its digest
and the field, and people who may see the file can look there. Form is checked here, not content.
Links are not followed, but for those that DVC makes into its cache: a link can lead to any file.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

from privllm.core.seed import ID_BYTES
from privllm.feedback.records import Model, Rating, Vote, from_plain

BOM = b"\xef\xbb\xbf"
NAME_CHARACTERS = 200  # of an id or a rater at most
DETAIL_CHARACTERS = 120
MAX_EDITION = 1_000_000
DVC_CACHE = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")
CHUNK_BYTES = 1 << 20  # of a line that is longer than allowed


class SourceLine(NamedTuple):
    source: str  # "votes.jsonl#12": file below the folder, and line from 1; 0 of a file that was not opened
    digest: str  # of its bytes, as `seed.digest` makes it
    bytes: int


class ParsedLine(NamedTuple):
    line: SourceLine
    record: Rating | Vote


class RefusedLine(NamedTuple):
    line: SourceLine
    reason: str  # link, too_long, encoding, json, schema; later steps have more
    detail: str


def read_files(folder: Path, max_bytes: int) -> Iterator[ParsedLine | RefusedLine]:
    """Yield every line of every `*.jsonl` at or below `folder`, in the order of file names.

    Lines of white space are left out.
    """
    for path in files_of(folder):
        name = path.relative_to(folder).as_posix()
        if is_foreign_link(path):
            yield RefusedLine(SourceLine(f"{name}#0", "", 0), "link", "not followed: put the file itself here")
            continue
        with path.open("rb") as file:
            for number, (content, digest, size) in enumerate(lines_of(file, max_bytes), 1):
                line = SourceLine(f"{name}#{number}", digest, size)
                if size > max_bytes:
                    yield RefusedLine(line, "too_long", f"{size:,} bytes")
                elif content.removeprefix(BOM).strip():
                    yield parse_line(line, content)


def files_of(folder: Path) -> list[Path]:
    """Return the feedback files at or below `folder`, and links that have such names, by name."""
    files = [path for path in folder.rglob("*.jsonl") if path.is_symlink() or path.is_file()]
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def is_foreign_link(path: Path) -> bool:
    """Return whether `path` is a link that DVC did not make."""
    if not path.is_symlink():
        return False
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return True
    return not target.is_file() or not DVC_CACHE.search(target.as_posix())


def lines_of(file: BinaryIO, max_bytes: int) -> Iterator[tuple[bytes, str, int]]:
    """Yield (the first `max_bytes` at most, digest, bytes) of every line, without the line end."""
    while chunk := file.readline(max_bytes + 1):
        beginning = chunk[:max_bytes].removesuffix(b"\n")
        line_digest = blake2b(digest_size=ID_BYTES)
        size = 0
        while chunk:
            content = chunk.removesuffix(b"\n")
            line_digest.update(content)
            size += len(content)
            chunk = b"" if chunk.endswith(b"\n") else file.readline(CHUNK_BYTES)
        yield beginning, line_digest.hexdigest(), size


def parse_line(line: SourceLine, content: bytes) -> ParsedLine | RefusedLine:
    """Return the record that a line's bytes hold, or why there is none."""
    try:
        text = content.removeprefix(BOM).decode("utf-8")
        plain = json.loads(text, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        return RefusedLine(line, "encoding", f"not UTF-8 at byte {error.start}")
    except RecursionError:
        return RefusedLine(line, "json", "nested too deeply")
    except ValueError as error:
        return RefusedLine(line, "json", _printable_detail(error))
    try:
        record = _record_of(plain)
        check_names(record)
        moment(record)
    except (ValueError, OverflowError) as error:
        return RefusedLine(line, "schema", _printable_detail(error))
    return ParsedLine(line, record)


def _record_of(plain: Any) -> Rating | Vote:
    if isinstance(plain, dict) and "choice" in plain:
        return from_plain(Vote, plain)
    return from_plain(Rating, plain)


def check_names(record: Rating | Vote) -> None:
    """Raise ValueError unless id, rater and the models' fields are short and printable, and the edition is one.

    A model's fields may be empty.
    """
    for name in ("id", "rater"):
        value = getattr(record, name)
        if not value.strip() or not _is_short_and_printable(value):
            raise ValueError(f"`{name}` must be 1 to {NAME_CHARACTERS} printable characters")
    if isinstance(record, Rating) and not 1 <= record.edition <= MAX_EDITION:
        raise ValueError(f"`edition` must be between 1 and {MAX_EDITION:,}")
    if isinstance(record, Vote):
        _check_model(record.left.model, "left.model")
        _check_model(record.right.model, "right.model")
    else:
        _check_model(record.model, "model")


def _check_model(model: Model, field: str) -> None:
    for name, value in asdict(model).items():
        if not _is_short_and_printable(value):
            raise ValueError(f"`{field}.{name}` must be at most {NAME_CHARACTERS} printable characters")


def _is_short_and_printable(value: str) -> bool:
    return value.isprintable() and len(value) <= NAME_CHARACTERS


def moment(record: Rating | Vote) -> float:
    """Return the record's time in seconds since 1970; a time without a zone is UTC.

    Raises ValueError where it is not ISO 8601.
    """
    try:
        time = datetime.fromisoformat(record.time)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError("`time` must be ISO 8601") from None


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _printable_detail(error: Exception) -> str:
    """Return the error's message, shortened and with unprintable characters replaced: a key may hold anything."""
    characters = [sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in str(error)]
    return "".join(characters)[:DETAIL_CHARACTERS]
