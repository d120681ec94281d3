"""The parts of a mail: its text, of whatever encoding, and the files inside it."""

import codecs
import html
import mimetypes
import re
from email.errors import MessageError
from email.header import decode_header
from email.message import Message
from email.utils import parseaddr, parsedate_to_datetime
from typing import NamedTuple

from privllm.collect.decode import SUPERSETS, decode, strict
from privllm.collect.documents import Unreadable
from privllm.collect.parsed import About
from privllm.collect.source_file import SourceFile
from privllm.collect.written_text import written_text

MAX_PARTS = 1000  # of one message
MAX_DEPTH = 30  # of parts inside each other
NO_CHARSETS = ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf-7")


class Body(NamedTuple):
    """A part of a message that is text."""

    kind: str  # text/plain or text/html
    text: str
    encoding: str


class MailParts:
    """The parts of a message: texts to be read as one document, and files inside it."""

    def __init__(self, file: SourceFile, message: Message) -> None:
        self.file = file
        self.is_mail = bool(message.keys())
        self.subject = header_text(message.get("Subject", ""))
        self.about = About(self.subject, _sender(message), _day(message))
        self.bodies: list[Body] = []
        self.files: list[SourceFile] = []
        self._count = 0
        self._take(message, 0)

    def document(self) -> tuple[str, str, str]:
        """Return text, media type and encoding of the message: HTML where any of its texts is."""
        encoding = self.bodies[0].encoding if self.bodies else "us-ascii"
        if all(body.kind == "text/plain" for body in self.bodies):
            written = written_text("\n\n".join(body.text.strip("\n") for body in self.bodies), self.subject)
            title = f"{self.subject}\n\n" if self.subject else ""
            return f"{title}{written}".strip("\n"), "text/plain", encoding
        title = f"<h1>{html.escape(self.subject)}</h1>\n" if self.subject else ""
        return title + "\n".join(_as_html(body, self.subject) for body in self.bodies), "text/html", encoding

    def _take(self, part: Message, depth: int) -> None:
        self._require_few(depth)
        kind = part.get_content_type()
        if kind == "message/rfc822" and part.is_multipart():
            self._add_file(part, "message.eml", part.get_payload(0).as_bytes())  # type: ignore[union-attr]
        elif kind == "multipart/alternative":
            self._take_alternative(part, depth)
        elif part.is_multipart():
            for inner in part.get_payload():
                self._take(inner, depth + 1)  # type: ignore[arg-type]
        elif _is_text(part):
            self._add_text(part)
        else:
            self._add_file(part, "", _bytes_of(part))

    def _require_few(self, depth: int) -> None:
        """Count a part, and raise `Unreadable` ("too_much") for one too many or too deep."""
        self._count += 1
        if self._count > MAX_PARTS or depth > MAX_DEPTH:
            raise Unreadable("too_much", f"over {MAX_PARTS} parts, or over {MAX_DEPTH} inside each other")

    def _take_alternative(self, part: Message, depth: int) -> None:
        """Take one alternative, and the files inside all of them.

        The plain text counts where it says something, else the last that has a text, as RFC 2046 has it.
        """
        alternatives = [inner for inner in part.get_payload() if isinstance(inner, Message)]
        plain = (inner for inner in alternatives if inner.get_content_type() == "text/plain" and _is_text(inner))
        shown = next((inner for inner in plain if self._add_text(inner)), None)
        if shown is None and alternatives:
            shown = next((inner for inner in reversed(alternatives) if _has_text(inner)), alternatives[-1])
            self._take(shown, depth + 1)
        for inner in alternatives:
            if inner is not shown and (inner.is_multipart() or _is_attached(inner)):
                self._take_files(inner, depth + 1)

    def _take_files(self, part: Message, depth: int) -> None:
        """Take the files inside an alternative whose text is not shown."""
        if part.get_content_maintype() == "multipart" and part.is_multipart():
            self._require_few(depth)
            for inner in part.get_payload():
                self._take_files(inner, depth + 1)  # type: ignore[arg-type]
        elif not _is_text(part):
            self._take(part, depth)

    def _add_text(self, part: Message) -> bool:
        """Add a text to the message, and return whether it says something.

        One of no known encoding becomes a file inside, to be refused by its name: the rest of the mail can be read.
        """
        try:
            body = _body_of(part)
        except Unreadable:
            suffix = mimetypes.guess_extension(part.get_content_type()) or ".txt"
            self.files.append(self.file.inside(f"text{len(self.files) + 1}{suffix}", _bytes_of(part)))
            return False
        if body.text.strip():
            self.bodies.append(body)
        return bool(body.text.strip())

    def _add_file(self, part: Message, name: str, data: bytes) -> None:
        given = header_text(part.get_filename() or "")
        suffix = mimetypes.guess_extension(part.get_content_type()) or ".bin"
        name = given or name or f"part{len(self.files) + 1}{suffix}"
        self.files.append(self.file.inside(name, data))


def _sender(message: Message) -> str:
    """Return the name of the sender, or the address where there is no name."""
    name, address = parseaddr(header_text(message.get("From", "")))
    return name or address


def _day(message: Message) -> str:
    """Return the day on which a message was sent, by the sender's clock; "" where that cannot be told."""
    try:
        sent = parsedate_to_datetime(str(message.get("Date", "")))
    except (TypeError, ValueError, OverflowError):  # the last for a number of too many digits
        return ""
    return sent.date().isoformat()


def _is_text(part: Message) -> bool:
    """Return whether a part is shown as the message's text."""
    return part.get_content_type() in ("text/plain", "text/html", "text/enriched") and not _is_attached(part)


def _is_attached(part: Message) -> bool:
    return part.get_content_disposition() == "attachment" or bool(part.get_filename())


def _has_text(part: Message) -> bool:
    return any(_is_text(inner) for inner in part.walk())


def _as_html(body: Body, subject: str) -> str:
    """Return a text as HTML; of plain text what the sender wrote, in paragraphs."""
    if body.kind == "text/html":
        return body.text
    paragraphs = re.split(r"\n\s*\n", written_text(body.text, subject).strip())
    return "\n".join(f"<p>{html.escape(paragraph).replace(chr(10), '<br>')}</p>" for paragraph in paragraphs)


def _bytes_of(part: Message) -> bytes:
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _body_of(part: Message) -> Body:
    """Return a text decoded by its declared charset where that fits, else by what its bytes say."""
    data, kind = _bytes_of(part), part.get_content_type()
    kind = "text/html" if kind == "text/html" else "text/plain"
    if not data.strip():
        return Body(kind, "", "us-ascii")
    encoding = declared_encoding(str(part.get_content_charset("")))
    text = strict(data, encoding) if encoding else None
    if text is not None:
        return Body(kind, text, encoding)
    decoded = decode(data, markup=kind == "text/html")
    return Body(kind, decoded.text, decoded.encoding)


def declared_encoding(charset: str) -> str:
    """Return Python's codec for the charset that a part declares, "" for one that is unknown or no charset."""
    name = charset.strip().lower() or "us-ascii"
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        return ""
    is_charset = codec._is_text_encoding and codec.name not in NO_CHARSETS
    return SUPERSETS.get(codec.name, codec.name) if is_charset else ""


def header_text(value: object) -> str:
    """Return a header as text on one line; encoded words (RFC 2047) are decoded."""
    try:
        pieces = decode_header(str(value))
    except (MessageError, ValueError):
        return " ".join(str(value).split())
    words = []
    for piece, charset in pieces:
        if isinstance(piece, str):
            words.append(piece)
            continue
        try:
            words.append(piece.decode(charset or "ascii"))
        except (LookupError, ValueError):
            words.append(piece.decode("latin-1"))
    return " ".join("".join(words).split())
