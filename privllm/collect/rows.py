"""Rows of a table as documents: each under a source that stays when its neighbours change.

A row is named by its value in the column `id` or `key`; where it has none, or an earlier row has
the same, by a digest of its text. Equal rows are numbered.
"""

from collections.abc import Collection, Sequence

from privllm.collect.documents import CollectedDocument, Quarantined, Unreadable
from privllm.collect.readers.jsonl import shown
from privllm.collect.readers.reader import TOO_LARGE, require_text
from privllm.collect.source_file import SourceFile
from privllm.core.records import document_id
from privllm.core.seed import digest

KEYS = ("id", "key")  # columns, in lower case; the first that is there


class Rows:
    """Makes rows of one table into documents, and refusals with a reason."""

    def __init__(self, file: SourceFile, media_type: str, max_bytes: int) -> None:
        self.file, self.media_type, self.max_bytes = file, media_type, max_bytes
        self._sources: dict[str, int] = {}  # and the number of the last row that was told apart by one

    def row(self, text: object, key: object, encoding: str = "utf-8") -> CollectedDocument | Quarantined:
        """Return the document of a row, or why it is none.

        key: the value in the key column, None where there is none.
        """
        written = text if isinstance(text, str) else ""
        data = written.encode("utf-8", "replace")
        text_digest = digest(data)
        source = self._source(key, text_digest)
        try:
            if len(data) > self.max_bytes:
                raise Unreadable("too_large", TOO_LARGE)
            if text is not None and not isinstance(text, str):
                raise Unreadable("no_text", f"its {self.file.options.text_key!r} is no text")
            require_text(written)
        except Unreadable as refusal:
            return Quarantined(source, text_digest, len(data), refusal.reason, refusal.detail)
        return CollectedDocument(document_id(source), source, self.media_type, encoding, text_digest, data.decode())

    def refused(self, data: bytes, size: int, refusal: Unreadable) -> Quarantined:
        """Return the row of `size` bytes, beginning with `data`, that cannot be read."""
        return Quarantined(self._source(None, digest(data)), "", size, refusal.reason, refusal.detail)

    def _source(self, key: object, text_digest: str) -> str:
        """Return a source that no other row has."""
        is_key = isinstance(key, str | int) and not isinstance(key, bool)
        name = str(key).strip() if is_key else ""
        source = self.file.source_inside(name or text_digest)
        if name and source in self._sources:
            source = self.file.source_inside(f"{name}~{text_digest}")
        first, number = source, self._sources.get(source, 1)
        while source in self._sources:
            number += 1
            source = f"{first}~~{number}"
        self._sources[first] = number
        self._sources.setdefault(source, 1)
        return source


def key_column(names: Sequence[str]) -> str | None:
    """Return the column that names the rows, None where there is none."""
    lower = [name.lower() for name in names]
    return next((names[lower.index(key)] for key in KEYS if key in lower), None)


def require_column(text_key: str, names: Collection[str], what: str = "column") -> None:
    """Raise `Unreadable` ("no_text") where a table has no column `text_key`."""
    if text_key not in names:
        detail = f"it has no {what} {text_key!r}, but {shown([*names]) or 'none'}: set collect.text_key to one of them"
        raise Unreadable("no_text", detail)
