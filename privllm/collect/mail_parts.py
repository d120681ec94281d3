"""The parts of a mail: its text, of whatever encoding, and the files inside it."""

import codecs
import html
import mimetypes
import re
from email import policy
from email.errors import MessageError
from email.feedparser import BufferedSubFile  # type: ignore[attr-defined]
from email.header import decode_header
from email.message import Message
from email.parser import BytesFeedParser
from email.utils import parseaddr, parsedate_to_datetime
from typing import Any, NamedTuple

from privllm.collect.decode import SUPERSETS, decode, strict
from privllm.collect.documents import Unreadable
from privllm.collect.parsed import About
from privllm.collect.source_file import SourceFile
from privllm.collect.written_text import joined_lines, written_text

MAX_PARTS = 1000  # of one message
MAX_DEPTH = 30  # of parts inside each other
TOO_MANY = "too_much", f"over {MAX_PARTS} parts, or over {MAX_DEPTH} inside each other"
BOUNDARY = re.compile(rb'^--([^"\\\r\n]{0,69}[^\s"\\])[ \t]*\r?\n(?=content-)', re.MULTILINE | re.IGNORECASE)
WITH_PARAMETERS = ("content-type", "content-disposition")
MAX_PARAMETERS = 10_000  # characters of such a header
MAILS = ("message/rfc822", "message/global", "message/news")
NO_CHARSETS = ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf-7")


class LenientMessage(Message):
    """A message of which a parameter in an encoding that is none counts as not given.

    A message inside it, or a report on one, is left as the bytes it is: the parser could not write it again as it was.
    """

    def get_content_type(self) -> str:
        """Return the type; the parser would cut a report on a delivery into headers."""
        kind = super().get_content_type()
        return "message/x-delivery-status" if kind == "message/delivery-status" else kind

    def get_content_maintype(self) -> str:
        """Return the first half of the type, by which the parser looks for parts."""
        kind = super().get_content_maintype()
        return "application" if kind == "message" else kind

    def get_filename(self, failobj=None):  # type: ignore[no-untyped-def]
        """Return the name of a file."""
        try:
            return super().get_filename(failobj)
        except (LookupError, ValueError):
            return failobj

    def get_boundary(self, failobj=None):  # type: ignore[no-untyped-def]
        """Return what stands between the parts."""
        try:
            return super().get_boundary(failobj)
        except (LookupError, ValueError):
            return failobj


class BoundedHeaders(policy.Compat32):
    """Headers with parameters, cut where they are longer than any: the standard library takes time square in them."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        """Return name and value of a header."""
        name, value = super().header_source_parse(sourcelines)
        return name, value[:MAX_PARAMETERS] if name.lower() in WITH_PARAMETERS else value


class ShallowLines(BufferedSubFile):
    """The lines of a mail, each of which is compared with the ends of all parts that it lies in."""

    def push_eof_matcher(self, pred: Any) -> None:
        """Take note of the end of a part. Raises `Unreadable` where too many lie inside each other."""
        if len(self._eofstack) > MAX_DEPTH:
            raise Unreadable(*TOO_MANY)
        super().push_eof_matcher(pred)


def parsed_mail(data: bytes) -> Message:
    """Return a message with its parts. Raises `Unreadable` ("too_much")."""
    parser = BytesFeedParser(LenientMessage, policy=BoundedHeaders())
    parser._input = ShallowLines()  # type: ignore[attr-defined]
    parser.feed(data)
    return parser.close()


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
        self.subject = _header(message, "subject")
        self.about = About(self.subject, _sender(message), _day(message))
        self.bodies: list[Body] = []
        self.files: list[SourceFile] = []
        self._count = 0
        self._take(message, 0)

    def document(self) -> tuple[str, str, str]:
        """Return text, media type and encoding of the message: HTML where any of its texts is."""
        encoding = self.bodies[0].encoding if self.bodies else "us-ascii"
        if all(body.kind == "text/plain" for body in self.bodies):
            written = written_text("\n\n".join(body.text.strip("\r\n") for body in self.bodies), self.subject)
            title = f"{self.subject}\n\n" if self.subject else ""
            return f"{title}{written}".strip("\n"), "text/plain", encoding
        title = f"<h1>{html.escape(self.subject)}</h1>\n" if self.subject else ""
        return title + "\n".join(_as_html(body, self.subject) for body in self.bodies), "text/html", encoding

    def _take(self, part: Message, depth: int) -> None:
        self._require_few(depth)
        kind = part.get_content_type()
        if kind in MAILS:
            self._add_file(part, "message.eml", _mail_inside(part))
        elif kind.startswith("message/"):  # a report on a mail, which is headers alone, or a piece of one
            self._add_file(part, "message.txt", _bytes_of(part))
        elif kind == "multipart/alternative" and part.is_multipart():
            self._take_alternative(part, depth)
        elif part.is_multipart():
            for inner in part.get_payload():
                self._take(inner, depth + 1)  # type: ignore[arg-type]
        elif part.get_content_maintype() == "multipart":
            self._take_undivided(part, depth)
        elif _is_text(part):
            self._add_text(part)
        else:
            self._add_file(part, "", _bytes_of(part))

    def _take_undivided(self, part: Message, depth: int) -> None:
        """Take a part of which the boundary is missing or wrong: divided by the one that its lines show, else as a text."""
        data = _bytes_of(part)
        boundary = BOUNDARY.search(data)
        begin = boundary.start() if boundary else len(data)
        head = f"Content-Type: {part.get_content_type()}; boundary=".encode("ascii", "replace")
        divided = parsed_mail(b'%b"%b"\n\n%b' % (head, boundary[1] if boundary else b"", data[begin:]))
        if divided.is_multipart():
            self._add_body(_body(data[:begin], "text/plain", "unknown"))
            self._take(divided, depth + 1)
        else:
            self._add_body(_body(data, "text/plain", "unknown"))

    def _require_few(self, depth: int) -> None:
        """Count a part, and raise `Unreadable` ("too_much") for one too many or too deep."""
        self._count += 1
        if self._count > MAX_PARTS or depth > MAX_DEPTH:
            raise Unreadable(*TOO_MANY)

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
        return self._add_body(body)

    def _add_body(self, body: Body) -> bool:
        if body.text.strip():
            self.bodies.append(body)
        return bool(body.text.strip())

    def _add_file(self, part: Message, name: str, data: bytes) -> None:
        given = header_text(part.get_filename() or "")
        suffix = mimetypes.guess_extension(part.get_content_type()) or ".bin"
        name = given or name or f"part{len(self.files) + 1}{suffix}"
        kind = part.get_content_type()
        told = "message.eml" if kind in MAILS else "message.txt" if kind.startswith("message/") else ""
        self.files.append(self.file.inside(name, data, told))


def _sender(message: Message) -> str:
    """Return the name of the sender, or the address where there is no name."""
    name, address = parseaddr(_header(message, "from"))
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


def _mail_inside(part: Message) -> bytes:
    """Return the message that a part holds; it is encoded only where it does not begin with a header."""
    decoded = _bytes_of(part)
    del part["Content-Transfer-Encoding"]
    data = _bytes_of(part)
    begin = data.lstrip()[:1000].partition(b"\n")[0]
    return data if b":" in begin or begin.startswith(b"From ") else decoded


def _body_of(part: Message) -> Body:
    """Return a text decoded by its declared charset where that fits, else by what its bytes say."""
    kind = "text/html" if part.get_content_type() == "text/html" else "text/plain"
    body = _body(_bytes_of(part), kind, _charset(part))
    if kind == "text/plain" and str(part.get_param("format", "")).lower() == "flowed":
        drops_space = str(part.get_param("delsp", "")).lower() == "yes"
        return body._replace(text=joined_lines(body.text, drops_space))
    return body


def _body(data: bytes, kind: str, charset: str) -> Body:
    if not data.strip():
        return Body(kind, "", "us-ascii")
    encoding = declared_encoding(charset)
    if charset.lower() in ("", "us-ascii") and not data.isascii() and strict(data, "utf-8") is not None:
        encoding = "utf-8"
    text = strict(data, encoding) if encoding else None
    if text is not None:
        return Body(kind, text, encoding)
    decoded = decode(data, markup=kind == "text/html")
    return Body(kind, decoded.text, decoded.encoding)


def _charset(part: Message) -> str:
    try:
        return str(part.get_content_charset(""))
    except (LookupError, ValueError):  # a name that is encoded in what is no encoding
        return "unknown"


def declared_encoding(charset: str) -> str:
    """Return Python's codec for the charset that a part declares, "" for one that is unknown or no charset."""
    name = charset.strip().lower() or "us-ascii"
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        return ""
    is_charset = codec._is_text_encoding and codec.name not in NO_CHARSETS
    return SUPERSETS.get(codec.name, codec.name) if is_charset else ""


def _header(message: Message, name: str) -> str:
    """Return the first header of a name as text; bytes that are not ASCII are UTF-8, or in the charset of the message."""
    raw = next((str(value) for key, value in message.raw_items() if key.lower() == name), "")
    data = raw.encode("utf-8", "surrogateescape")
    texts = (strict(data, encoding) for encoding in ("utf-8", declared_encoding(_charset(message)), "latin-1"))
    return header_text(next(text for text in texts if text is not None))


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
            words.append(piece.decode(charset or "raw_unicode_escape"))  # what stands between encoded words
        except (LookupError, ValueError):
            words.append(piece.decode("latin-1"))
    return " ".join("".join(words).split())
