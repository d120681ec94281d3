"""Mail: single messages (.eml, maildir) and mailboxes (.mbox).

A message is one document: its subject, and the text somebody wrote, without quoted replies and
signature. Of alternatives the plain text counts, else the HTML, which `clean` turns into text.
Attachments and forwarded messages are files inside it. In a mailbox a message is named by its
Message-ID, or by a digest of its bytes where it has none.
"""

import codecs
import html
import mimetypes
import re
from collections.abc import Iterator
from email import policy
from email.errors import MessageError
from email.header import decode_header
from email.message import Message
from email.parser import BytesParser
from email.utils import parseaddr, parsedate_to_datetime
from typing import BinaryIO, ClassVar, NamedTuple

from privllm.collect.decode import SUPERSETS, decode, strict
from privllm.collect.documents import CollectedDocument, Quarantined, Unreadable
from privllm.collect.parsed import About
from privllm.collect.readers.reader import TOO_LARGE, Reader, Row, not_opened, require_text
from privllm.collect.source_file import SourceFile
from privllm.core.records import document_id
from privllm.core.seed import digest

MAIL, MAILBOX = "message/rfc822", "application/mbox"
MAX_PARTS = 1000  # of one message
MAX_DEPTH = 30  # of parts inside each other
FROM_LINE = re.compile(rb"From \S.*\d{4}")  # "From somebody Thu Nov 26 04:23:00 2026"
MESSAGE_ID = re.compile(rb"^message-id:\s*<([^>\s]{1,200})>", re.MULTILINE | re.IGNORECASE)
ESCAPED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)
SIGNATURE = re.compile(r"^-- ?$", re.MULTILINE)
# What mail programs write above a reply that they quote as a whole, in the languages of most mail.
ORIGINAL = re.compile(
    r"^[ \t]*(?:-{2,} ?(?:Original Message|Forwarded message|Urspr\u00fcngliche Nachricht|Message d'origine|Mensaje original)"
    r" ?-{2,}|_{20,}[ \t]*\n(?:From|Von|De): )",
    re.MULTILINE | re.IGNORECASE,
)
PGP = re.compile(
    r"^-----BEGIN PGP SIGNATURE-----$.*?^-----END PGP SIGNATURE-----$|^-----BEGIN PGP SIGNED MESSAGE-----$(?:\nHash: .*$)?",
    re.MULTILINE | re.DOTALL,
)
QUOTED = re.compile(r"^[ \t]*(?:>|\w{1,3}> ).*$")
# "On Thu, 26 Nov 2026, somebody wrote:" and its like: a line with a digit that ends in a colon, before a quotation.
ATTRIBUTION = re.compile(r"^(?=.*\d|.*@|.*(?:wrote|writes|schrieb|\u00e9crit|escribi\u00f3)).{0,200}:[ \t]*$")
# Its first line, where a mail program broke it in two.
ATTRIBUTION_BEGIN = re.compile(r"^(?:On|Am|Le|El|Il|Op|Em|In) .{0,200}\d")
MAX_SIGNATURE = 12  # lines; what follows "-- " in more lines is no signature
NO_CHARSETS = ("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf-7")


class Body(NamedTuple):
    """A part of a message that is text."""

    kind: str  # text/plain or text/html
    text: str
    encoding: str


class MailReader(Reader):
    """Messages and mailboxes."""

    media_types: ClassVar = {".eml": MAIL, ".mbox": MAILBOX, ".mbx": MAILBOX}
    holds_many = True

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[Row | SourceFile]:
        """Yield a message and the files inside it, or the messages of a mailbox."""
        try:
            with file.open() as opened:
                head = opened.read(5)
                opened.seek(0)
                if is_mailbox(file.name, head):
                    yield from _messages(file, opened, max_bytes)
                else:
                    yield from _message(file, opened.read(max_bytes + 1), max_bytes)
        except OSError as error:
            yield not_opened(file, error)


def is_mailbox(name: str, head: bytes) -> bool:
    """Return whether a file of mail holds many, by its name and its first bytes."""
    begins_as_one = head.startswith(b"From ") and not name.lower().endswith(".eml")
    return begins_as_one or name.lower().endswith((".mbox", ".mbx"))


def _messages(file: SourceFile, opened: BinaryIO, max_bytes: int) -> Iterator[Row | SourceFile]:
    """Yield the messages of a mailbox; at most one is in memory."""
    is_empty = True
    for data, size in split_mailbox(opened, max_bytes):
        is_empty = False
        message = ESCAPED_FROM.sub(rb"\1", data)
        key = _message_id(message) or digest(message)
        part = file.inside(key, message, "message.eml")
        if size > max_bytes:
            yield Quarantined(part.source, "", size, "too_large", TOO_LARGE)
        else:
            yield part
    if is_empty:
        yield Quarantined(file.source, "", file.size, "empty", "no message begins with a line `From `")


def split_mailbox(opened: BinaryIO, max_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Yield each message without its `From ` line, cut to `max_bytes`, and its size."""
    lines: list[bytes] = []
    size, current = 0, -1
    for number, line in mailbox_lines(opened):
        if number != current:  # at "From ..."
            if current >= 0:
                yield b"".join(lines), size
            lines, size, current = [], 0, number
        elif number >= 0:
            size += len(line)
            if size <= max_bytes:
                lines.append(line)
    if current >= 0:
        yield b"".join(lines), size


def mailbox_lines(opened: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield each line with the number of its message, from 0; -1 before the first. A long line comes in pieces."""
    number, after_blank = -1, True
    while line := opened.readline(1 << 20):
        if after_blank and line.startswith(b"From ") and (number < 0 or FROM_LINE.match(line)):
            number += 1
        yield number, line
        after_blank = line in (b"\n", b"\r\n")


def _message_id(data: bytes) -> str:
    """Return the Message-ID of a message, "" where it has none."""
    head = data[: 1 << 16].replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    header = MESSAGE_ID.search(head)
    return header[1].decode("ascii", "backslashreplace") if header else ""


def _message(file: SourceFile, data: bytes, max_bytes: int) -> Iterator[Row | SourceFile]:
    """Yield a message as a document, or why it is none, and the files inside it."""
    data_digest = digest(data)
    try:
        if len(data) > max_bytes:
            raise Unreadable("too_large", TOO_LARGE)
        parts = _Parts(file, BytesParser(policy=policy.compat32).parsebytes(data))
        if not parts.is_mail:
            raise Unreadable("no_mail", "it does not begin with the headers of a message")
        text, media_type, encoding = parts.document()
        require_text(text)
    except Unreadable as refusal:
        yield Quarantined(file.source, data_digest, file.size, refusal.reason, refusal.detail)
        if refusal.reason != "empty":
            return
    except (MessageError, ValueError, LookupError, RecursionError, AssertionError) as error:
        yield Quarantined(file.source, data_digest, file.size, "damaged", str(error)[:200] or type(error).__name__)
        return
    else:
        identifier = document_id(file.source)
        yield CollectedDocument(identifier, file.source, media_type, encoding, data_digest, text, *parts.about)
    yield from parts.files


class _Parts:
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
        """Return text, media type and encoding of the message."""
        plain = [body for body in self.bodies if body.kind == "text/plain"]
        if plain or not self.bodies:
            written = written_text("\n\n".join(body.text.strip("\n") for body in plain))
            title = f"{self.subject}\n\n" if self.subject else ""
            return f"{title}{written}".strip("\n"), "text/plain", plain[0].encoding if plain else "us-ascii"
        title = f"<h1>{html.escape(self.subject)}</h1>\n" if self.subject else ""
        return title + "\n".join(body.text for body in self.bodies), "text/html", self.bodies[0].encoding

    def _take(self, part: Message, depth: int) -> None:
        self._count += 1
        if self._count > MAX_PARTS or depth > MAX_DEPTH:
            raise Unreadable("too_much", f"over {MAX_PARTS} parts, or over {MAX_DEPTH} inside each other")
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

    def _take_alternative(self, part: Message, depth: int) -> None:
        """Take the plain text among alternatives where it says something, else the last of them, as RFC 2046 has it."""
        alternatives = [inner for inner in part.get_payload() if isinstance(inner, Message)]
        plain = [inner for inner in alternatives if inner.get_content_type() == "text/plain" and _is_text(inner)]
        for inner in plain:
            if self._add_text(inner):
                return
        for inner in alternatives[-1:]:
            self._take(inner, depth + 1)

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
    is_attached = part.get_content_disposition() == "attachment" or bool(part.get_filename())
    return part.get_content_type() in ("text/plain", "text/html", "text/enriched") and not is_attached


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


def written_text(text: str) -> str:
    """Return what the sender wrote: without signature, quoted lines and what introduces them.

    A message that only quotes is returned whole.
    """
    text = text.replace("\r\n", "\n")
    body = PGP.sub("", text)
    if original := ORIGINAL.search(body):
        body = body[: original.start()]
    signatures = list(SIGNATURE.finditer(body))
    if signatures and body[signatures[-1].end() :].count("\n") <= MAX_SIGNATURE:
        body = body[: signatures[-1].start()]
    written_lines: list[str] = []
    for line in body.split("\n"):
        if not QUOTED.match(line):
            written_lines.append(line)
            continue
        _drop_attribution(written_lines)
    written = re.sub(r"\n{3,}", "\n\n", "\n".join(written_lines)).strip("\n")
    return written if written.strip() else text


def _drop_attribution(written_lines: list[str]) -> None:
    """Remove "... wrote:" from the end of the lines above a quotation."""
    while written_lines and not written_lines[-1].strip():
        written_lines.pop()
    if written_lines and ATTRIBUTION.match(written_lines[-1]):
        written_lines.pop()
        if written_lines and ATTRIBUTION_BEGIN.match(written_lines[-1]):  # it was broken once
            written_lines.pop()
    elif (
        len(written_lines) > 1
        and ATTRIBUTION_BEGIN.match(written_lines[-2])
        and written_lines[-1].rstrip().endswith(":")
    ):
        del written_lines[-2:]
    if written_lines:
        written_lines.append("")
