"""What readers are given: a file below the sources, or one that lies inside another (a member of an archive, an attachment)."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from privllm.collect.documents import source_of
from privllm.collect.parsed import About
from privllm.core.seed import digest

MAX_KEY = 240  # characters of a part's name; what is longer ends in a digest


class ReadOptions(NamedTuple):
    """What people decide about the reading of formats."""

    text_key: str = "text"  # key of JSON objects, column of tables
    code: bool = False  # source code and notebooks are read
    ocr: tuple[str, ...] = ()  # languages in which tesseract reads scanned pages; none: they are not read


DEFAULT_OPTIONS = ReadOptions()
NOTHING_SAID = About()


@dataclass(frozen=True)
class SourceFile:
    """A file on disk, or the bytes of one inside a container."""

    source: str  # its name: "notes.txt", "inbox.mbox#<id>", "inbox.mbox#<id>/report.pdf"
    name: str  # whose suffix tells its format
    path: Path | None = None  # None inside a container
    data: bytes = b""  # inside a container
    options: ReadOptions = DEFAULT_OPTIONS
    about: About = NOTHING_SAID  # by what it lies in, such as a book of its chapters

    @classmethod
    def at(cls, path: Path, sources: Path, options: ReadOptions = DEFAULT_OPTIONS) -> "SourceFile":
        """Return the file at `path` below the folder `sources`."""
        return cls(source_of(path, sources), str(path.relative_to(sources)), path, options=options)

    def inside(self, key: str, data: bytes, name: str = "", about: About = NOTHING_SAID) -> "SourceFile":
        """Return a part of this container under a key that stays when its neighbours change.

        `name` says the format where the key does not, and `about` what the container says of the part.
        """
        return SourceFile(self.source_inside(key), name or key, None, data, self.options, about)

    def source_inside(self, key: str) -> str:
        """Return the source of a part under a key."""
        separator = "#" if self.path else "/"
        return f"{self.source}{separator}{clean_key(key)}"

    @property
    def told(self) -> str:
        """Return a digest of what a container says of this part: its name, by which its format is known, and what it is about."""
        return digest(json.dumps([self.name, *self.about]).encode())

    @property
    def size(self) -> int:
        """Bytes; raises OSError for a file that is gone."""
        return self.path.stat().st_size if self.path else len(self.data)

    def open(self) -> BinaryIO:
        """Open the bytes for reading."""
        return self.path.open("rb") if self.path else io.BytesIO(self.data)

    def read(self) -> bytes:
        """Return all bytes."""
        return self.path.read_bytes() if self.path else self.data


def clean_key(key: str) -> str:
    """Return a part's name as it stands in a source: "/"-separated, without what leads upwards, UTF-8, of bounded length."""
    encodable = key.encode("utf-8", "backslashreplace").decode()
    steps = [step for step in encodable.replace("\\", "/").split("/") if step not in ("", ".", "..")]
    cleaned = "/".join(steps)
    if not cleaned or len(cleaned) > MAX_KEY:
        cleaned = f"{cleaned[: MAX_KEY - 33]}~{digest(key.encode('utf-8', 'backslashreplace'))}"
    return cleaned
