"""What a file is by its first bytes, whatever it is called: formats that no reader has, by a name for people, and pages and mailboxes."""

import re

HEAD_BYTES = 512
OTHER_KINDS = {  # by first bytes: what it is, and what to do
    b"{\\rtf": "a text in RTF: save it as .docx",
    b"\x78\x9f\x3e\x22": "an attachment of Outlook (TNEF, winmail.dat): unpack it with tnef, or send it without rich text",
    b"!BDN": "a mailbox of Outlook (PST): export it as .mbox",
    b"\xcf\xad\x12\xfe": "a mailbox of Outlook Express (DBX): export it as .mbox",
    b"Rar!\x1a\x07": "an archive in RAR: pack it as .zip",
    b"7z\xbc\xaf\x27\x1c": "an archive in 7z: pack it as .zip",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: compress it by gzip",
    b"\x04\x22\x4d\x18": "compressed by lz4: compress it by gzip",
    b"\x1f\x9d": "compressed by compress: compress it by gzip",
    b"%!PS": "PostScript: save it as .pdf",
    b"AT&TFORM": "a scan in DjVu: save it as .pdf",
    b"\x89PNG\r\n": "a picture (PNG)",
    b"\xff\xd8\xff": "a picture (JPEG)",
    b"GIF87a": "a picture (GIF)",
    b"GIF89a": "a picture (GIF)",
    b"II*\x00": "a picture (TIFF): a scan is read as .pdf",
    b"MM\x00*": "a picture (TIFF): a scan is read as .pdf",
    b"ID3": "a sound (MP3)",
    b"OggS": "a sound or film (Ogg)",
    b"\x1aE\xdf\xa3": "a film (Matroska)",
    b"SQLite format 3\x00": "a database of SQLite: export its texts as .csv or .jsonl",
    b"\x7fELF": "a program",
    b"ITSF": "help of Windows (CHM): unpack it",
    b"wOFF": "a font",
}
BOOK = b"BOOKMOBI"  # a book of Mobipocket or Kindle, behind its name and its dates
BOOK_PLACE = 60
OFFICE_XML = re.compile(rb"""<\?mso-application\s+progid=["'](\w+)\.""")  # of Office 2003
PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.{0,300}?-->\s*)?<(?:!doctype\s+html|html)\b",
    re.IGNORECASE | re.DOTALL,
)
NOT_OF_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def other_kind(head: bytes) -> str:
    """Return what a file is that no reader reads, and what to do; "" for another."""
    for first, kind in OTHER_KINDS.items():
        if head.startswith(first):
            return kind
    if head[BOOK_PLACE:].startswith(BOOK):
        return "a book of Mobipocket or Kindle: convert it to .epub"
    office = OFFICE_XML.search(head)
    return f"XML of {office[1].decode()} 2003: save it in the format of today" if office else ""


def is_page(head: bytes) -> bool:
    """Return whether a file begins as a page of HTML."""
    return PAGE.match(head) is not None


def is_text(head: bytes) -> bool:
    """Return whether a file begins as text, in an encoding that ASCII is part of."""
    return NOT_OF_TEXT.search(head) is None
