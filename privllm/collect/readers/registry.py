"""The formats that are read, and which of them a file has: its suffix decides.

Formats of a project's own come from the dict READERS of its extensions, `{name: Reader}`; such a
file is one document.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.collect.kinds_by_bytes import HEAD_BYTES, is_page, is_text, other_kind
from privllm.collect.readers.archive import ArchiveReader
from privllm.collect.readers.arrow_table import ArrowTableReader
from privllm.collect.readers.code import CodeReader
from privllm.collect.readers.csv_table import CsvTableReader
from privllm.collect.readers.epub import EpubReader
from privllm.collect.readers.html import HtmlReader
from privllm.collect.readers.json_file import JsonFileReader
from privllm.collect.readers.jsonl import PACKED, JsonlReader
from privllm.collect.readers.latex import LatexReader
from privllm.collect.readers.mail import FROM_LINE, MailReader
from privllm.collect.readers.notebook import NotebookReader
from privllm.collect.readers.office import OfficeReader
from privllm.collect.readers.pdf import PdfReader
from privllm.collect.readers.reader import Reader, suffix_of
from privllm.collect.readers.rst import RstReader
from privllm.collect.readers.text import TextReader
from privllm.collect.readers.warc import WarcReader
from privllm.collect.source_file import SourceFile
from privllm.collect.unpacked_stream import OPEN
from privllm.collect.zip_kind import ZIP_SIGNATURES, kind_of_zip
from privllm.engine.extensions import NO_EXTENSIONS, Extensions
from privllm.engine.load_extensions import Entry, entries_of

READERS: dict[str, Reader] = {
    "html": HtmlReader(),
    "text": TextReader(),
    "jsonl": JsonlReader(),
    "archive": ArchiveReader(),
    "mail": MailReader(),
    "pdf": PdfReader(),
    "office": OfficeReader(),
    "epub": EpubReader(),
    "warc": WarcReader(),
    "csv_table": CsvTableReader(),
    "json_file": JsonFileReader(),
    "arrow_table": ArrowTableReader(),
    "code": CodeReader(),
    "notebook": NotebookReader(),
    "rst": RstReader(),
    "latex": LatexReader(),
}
TEXT_READERS = [READERS[name] for name in ("html", "text", "rst", "latex", "jsonl", "csv_table", "json_file")]
ZIP_READERS = [READERS[name] for name in ("archive", "office", "epub")]
CODE_READERS = [READERS[name] for name in ("code", "notebook")]
BINARY_READERS = [READERS[name] for name in ("archive", "pdf", "office", "epub", "arrow_table")]
READER_BY_SUFFIX = {suffix: reader for reader in READERS.values() for suffix in reader.media_types}
BY_BYTES = (
    ".doc",
    ".dot",
    ".xls",
    ".ppt",
    ".pps",
    ".rtf",
)  # may be another format, else an old one of which the office reader says so
NEWER = {".xlsb": ".xlsx"}  # to be saved as
MAILDIR = re.compile(r"/(?:cur|new)/[0-9]{6,}\.[^/]+$")  # such as cur/1764130980.M5P6.host:2,S
SUFFIX = re.compile(r"\.[a-z0-9_-]+")
MEDIA_TYPE = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+")


@cache
def own_readers(extensions: Extensions) -> Mapping[str, tuple[Entry, Reader]]:
    """Return {suffix: the reader of an extension}.

    Raises UserError for a reader that cannot be used, and for a name or suffix that is taken.
    """
    readers: dict[str, tuple[Entry, Reader]] = {}
    for name, entry in entries_of("READERS", extensions).items():
        reader = entry.value
        entry.require(name not in READERS, "is the name of a reader of privllm's: give yours another")
        _require_reader(entry, reader)
        for suffix in reader.media_types:
            entry.require(suffix not in READER_BY_SUFFIX, f"reads {suffix}, which privllm reads itself")
            earlier = readers[suffix][0].place if suffix in readers else ""
            entry.require(not earlier, f"reads {suffix}, which the reader in {earlier} reads too")
            readers[suffix] = entry, reader
    return readers


def _require_reader(entry: Entry, reader: Reader) -> None:
    """Raise UserError unless a value is a `Reader` of files that are one document each."""
    entry.require(
        not isinstance(reader, type) and callable(getattr(reader, "read", None)), "must be an object with `read`"
    )
    types = getattr(reader, "media_types", None)
    entry.require(isinstance(types, Mapping) and bool(types), "needs `media_types`: {suffix: media type}")
    for suffix, kind in reader.media_types.items():
        is_suffix = isinstance(suffix, str) and SUFFIX.fullmatch(suffix) is not None
        entry.require(is_suffix, f"has the suffix {suffix!r}: it must be such as '.csv', in lower case")
        is_type = isinstance(kind, str) and MEDIA_TYPE.fullmatch(kind) is not None
        entry.require(is_type, f"has the media type {kind!r}: it must be such as 'text/csv', in lower case")
    holds_one = getattr(reader, "holds_many", None) is False
    entry.require(holds_one, "needs `holds_many = False`: what holds many documents is read as JSON lines (.jsonl)")


def suffixes(extensions: Extensions = NO_EXTENSIONS) -> str:
    """Return the suffixes that are read, but those of code, for messages."""
    texts = [suffix for suffix, reader in READER_BY_SUFFIX.items() if not is_code(reader)]
    return " ".join([*texts, *own_readers(extensions)])


def why_not_read(name: str, extensions: Extensions = NO_EXTENSIONS) -> str:
    """Return, for a file whose format is not read, what to do."""
    suffix = Path(name).suffix.lower()[:20] or "no suffix"
    if suffix in NEWER:
        return f"{suffix}: save it as {NEWER[suffix]}"
    return f"{suffix}: the suffixes read are {suffixes(extensions)}".encode("utf-8", "replace").decode()


def reader_of(path: Path | str, extensions: Extensions = NO_EXTENSIONS) -> Reader | None:
    """Return the reader of a file, None where its format is not read."""
    suffix = _known_suffix(path)
    if MAILDIR.search(f"/{path}"):
        return READERS["mail"]
    if suffix in READER_BY_SUFFIX:
        return READER_BY_SUFFIX[suffix]
    _, reader = own_readers(extensions).get(suffix, (None, None)) if extensions.modules else (None, None)
    return READERS["office"] if reader is None and suffix in BY_BYTES else reader


def _known_suffix(path: Path | str) -> str:
    """Return the suffix of a file: the last two where these are a format's (".warc.gz")."""
    pieces = str(path).rpartition("/")[2].lower().rsplit(".", 2)
    double = f".{'.'.join(pieces[1:])}"
    return double if len(pieces) > 2 and double in READER_BY_SUFFIX else suffix_of(path)


def is_code(reader: Reader) -> bool:
    """Return whether a reader's files are read only where `collect.code` says so."""
    return reader in CODE_READERS


def media_type(path: Path | str, extensions: Extensions = NO_EXTENSIONS) -> str | None:
    """Return the media type of a file, None where its format is not read."""
    reader = reader_of(path, extensions)
    if reader is None:
        return None
    first_type = next(iter(reader.media_types.values()))
    return reader.media_types.get(_known_suffix(path), first_type)


def reader_for(file: SourceFile, extensions: Extensions = NO_EXTENSIONS) -> Reader | None:
    """Return the reader of a file by its suffix, or by its bytes where these are another format's.

    A PDF called ".txt" is a PDF, a Word document called ".zip" is a Word document, and a page called ".xls" is a page.
    """
    return recognised(file, extensions)[0]


def recognised(file: SourceFile, extensions: Extensions = NO_EXTENSIONS) -> tuple[Reader | None, str]:
    """Return `reader_for`, and what the file is by its bytes where no reader has that format; "" for another, and for code."""
    reader = reader_of(file.name, extensions)
    if reader is None or reader not in READERS.values() or is_code(reader):
        return reader, ""
    try:
        with file.open() as opened:
            head = opened.read(HEAD_BYTES)
            kind = kind_of_zip(opened) if head.startswith(ZIP_SIGNATURES) else ""
    except OSError:
        return reader, ""
    if kind:
        return READERS["epub" if kind == "epub" else "office"], ""
    reader = _by_bytes(head, file.name, reader)
    return reader, "" if _is_packed(head, file.name, reader) else other_kind(head)


def _by_bytes(head: bytes, name: str, reader: Reader) -> Reader:
    """Return the reader whose format the first bytes of a file are, else the one that its name says."""
    is_old = _known_suffix(name) in BY_BYTES
    if head.startswith(ZIP_SIGNATURES) and reader in ZIP_READERS and not is_old:
        return reader  # it says what is missing
    if _is_packed(head, name, reader) or head.startswith(tuple(reader.signatures)):
        return reader
    for other in READERS.values():
        if head.startswith(tuple(other.signatures)):
            return other
    if reader is READERS["text"] and FROM_LINE.match(head):
        return READERS["mail"]
    if reader in BINARY_READERS and is_page(head):
        return READERS["html"]
    return READERS["text"] if is_old and is_text(head) and not other_kind(head) else reader


def _is_packed(head: bytes, name: str, reader: Reader) -> bool:
    """Return whether a file is compressed that its own reader unpacks."""
    unpacks = reader is READERS["warc"] or reader.media_types.get(_known_suffix(name)) == PACKED
    return unpacks and head.startswith(tuple(OPEN))


def row_by_own(file: SourceFile, max_bytes: int, extensions: Extensions) -> CollectedDocument | Quarantined:
    """Return the one row that an extension's reader makes of a file. Raises UserError where it breaks its promises."""
    entry, reader = own_readers(extensions)[suffix_of(file.name)]
    place = str(file.path or file.source)
    with entry.blamed(place):
        rows = list(reader.read(file, max_bytes))
    (row,) = rows if len(rows) == 1 else (None,)
    if not isinstance(row, CollectedDocument | Quarantined):
        entry.require(False, f"gave {len(rows)} rows for {place}: it must yield one, a document or a refusal")
        raise AssertionError
    entry.require(row.source == file.source, f"gave {place} the source {row.source!r}: use `read_one`")
    if isinstance(row, Quarantined):
        is_named = re.fullmatch(r"[a-z][a-z0-9_]*", str(row.reason)) is not None
        entry.require(is_named, f"refused {place} for {row.reason!r}: a reason is a name such as 'no_text'")
    else:
        entry.require(_is_unicode(row.text), f"made a text of {place} that cannot be encoded: decode it as Unicode")
    return row


def _is_unicode(text: object) -> bool:
    """Return whether a value is a text without surrogates, which stand for bytes that were not decoded."""
    try:
        return isinstance(text, str) and text.encode() is not None
    except UnicodeEncodeError:
        return False
