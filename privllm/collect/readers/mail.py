"""Mail: single messages (.eml, maildir) and mailboxes (.mbox, also as MMDF, whose messages stand between lines of control characters).

A message is one document: its subject, and the text somebody wrote, without quoted replies and
signature. Of alternatives the plain text counts, else the HTML, which `clean` turns into text.
Attachments and forwarded messages are files inside it. In a mailbox a message is named by its
Message-ID, or by a digest of its bytes where it has none. Of mails with one Message-ID the first in the file has
the plain name, and the names of the others end in a digest of their bytes: one that is appended moves none, but
one that is put before the first takes its name.
"""

import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from email.errors import MessageError
from typing import BinaryIO, ClassVar

from privllm.collect.documents import CollectedDocument, Quarantined, Unreadable
from privllm.collect.mail_parts import MailParts, parsed_mail
from privllm.collect.readers.reader import TOO_LARGE, Reader, Row, not_opened, require_text
from privllm.collect.source_file import SourceFile
from privllm.core.records import document_id
from privllm.core.seed import digest

MAIL, MAILBOX = "message/rfc822", "application/mbox"
# "From somebody Thu Nov 26 04:23:00 2026": who it is, and a date as of asctime, maybe with a zone, or as in a mail.
WEEKDAY, MONTH = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)", rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
CLOCK, ZONE = rb"\d{1,2}:\d\d(?::\d\d)?", rb"(?:[A-Z]{2,5}|[+-]\d{4})"
FROM_LINE = re.compile(
    rb"From +(?:(?:\"[^\"]{0,200}\"\S*|\S+)(?: at \S+)? +)?"
    + rb"(?:%b +%b +\d{1,2} +%b(?: +%b)* +\d{4}" % (WEEKDAY, MONTH, CLOCK, ZONE)
    + rb"|%b, +\d{1,2} +%b +\d{4} +%b)\b" % (WEEKDAY, MONTH, CLOCK)
)
# Of the standard library's parser, which now and then trips over what nobody would write.
PARSER_ERRORS = (
    MessageError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    AssertionError,
)
MMDF = b"\x01\x01\x01\x01"  # the line before and after each message
MMDF_LINES = (MMDF + b"\n", MMDF + b"\r\n", MMDF)
MAX_FROM_LINE = 500  # bytes
MESSAGE_ID = re.compile(rb"^message-id:\s*<([^>\s]{1,200})>", re.MULTILINE | re.IGNORECASE)
ESCAPED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)


class MailReader(Reader):
    """Messages and mailboxes."""

    media_types: ClassVar = {".eml": MAIL, ".mbox": MAILBOX, ".mbx": MAILBOX}
    holds_many = True
    signatures = MMDF_LINES[:2]

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[Row | SourceFile]:
        """Yield a message and the files inside it, or the messages of a mailbox."""
        try:
            with file.open() as opened:
                head = opened.read(5)
                opened.seek(0)
                if is_mailbox(file.name, head):
                    yield from _messages(file, opened, max_bytes)
                else:
                    yield from _message(file, opened.read(min(file.size, max_bytes) + 1), max_bytes)
        except OSError as error:
            yield not_opened(file, error)


def is_mailbox(name: str, head: bytes) -> bool:
    """Return whether a file of mail holds many, by its name and its first bytes."""
    begins_as_one = head.startswith(MMDF) or (head.startswith(b"From ") and not name.lower().endswith(".eml"))
    return begins_as_one or name.lower().endswith((".mbox", ".mbx"))


def _messages(file: SourceFile, opened: BinaryIO, max_bytes: int) -> Iterator[Row | SourceFile]:
    """Yield the messages of a mailbox; at most one is in memory."""
    is_empty, size_before = True, 0
    for number, data, size in split_mailbox(opened, max_bytes):
        if number < 0:
            size_before = size if data.strip() else 0
            continue
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
    elif size_before:  # last, so that the numbers of the messages are their places among the rows
        yield Quarantined(
            file.source, "", size_before, "no_mail", "what stands before the first line `From ` is no mail"
        )


def split_mailbox(opened: BinaryIO, max_bytes: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield number, bytes and size of each message, without its `From ` line and cut to `max_bytes`.

    What stands before the first message has the number -1.
    """
    lines: list[bytes] = []
    size, current, is_mmdf = 0, -1, False
    for number, line in mailbox_lines(opened):
        if number != current:  # at "From ..."
            if lines or current >= 0:
                yield current, b"".join(lines), size
            lines, size, current = [], 0, number
            is_mmdf = line in MMDF_LINES
            continue
        if is_mmdf and not lines and (line in MMDF_LINES or line.startswith(b"From ")):
            continue
        size += len(line)
        if size <= max_bytes:
            lines.append(line)
    if lines or (current >= 0 and not is_mmdf):
        yield current, b"".join(lines), size


def mailbox_lines(opened: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield each line with the number of its message, from 0; -1 before the first. A long line comes in pieces.

    The first line of a mailbox may name no date. In MMDF a message begins at the first of the lines before it.
    """
    number, after_blank = -1, True
    is_first, is_mmdf = True, False
    while line := opened.readline(1 << 20):
        beginning = line.removeprefix(BOM_UTF8) if is_first else line
        is_mmdf = is_mmdf or (is_first and line in MMDF_LINES)
        if is_mmdf:
            begins = line in MMDF_LINES and (is_first or not after_blank)
            after_blank = line in MMDF_LINES or (after_blank and not line.strip())
        else:
            is_dated = FROM_LINE.match(beginning[:MAX_FROM_LINE]) is not None
            begins = after_blank and (is_dated or (is_first and beginning.startswith(b"From ")))
            after_blank = line in (b"\n", b"\r\n")
        number += begins
        yield number, line
        is_first = False


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
        parts = MailParts(file, parsed_mail(data.removeprefix(BOM_UTF8).lstrip()))
        if not parts.is_mail:
            raise Unreadable("no_mail", "it does not begin with the headers of a message")
        text, media_type, encoding = parts.document()
        require_text(text)
    except Unreadable as refusal:
        yield Quarantined(file.source, data_digest, file.size, refusal.reason, refusal.detail)
        if refusal.reason != "empty":
            return
    except PARSER_ERRORS as error:
        yield Quarantined(file.source, data_digest, file.size, "damaged", str(error)[:200] or type(error).__name__)
        return
    else:
        identifier = document_id(file.source)
        yield CollectedDocument(identifier, file.source, media_type, encoding, data_digest, text, *parts.about)
    yield from parts.files
