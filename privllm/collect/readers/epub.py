"""EPUB books: each chapter is a part, `book.epub#text/chapter1.xhtml`, which the reader of HTML reads.

The order of the chapters is that of the book's spine. Its table of contents, pictures and styles are left out.
What a chapter does not say of itself (title, author, day) is the book's.
"""

import posixpath
import re
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO, ClassVar
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from privllm.collect.allowance import TooMuch
from privllm.collect.documents import Quarantined
from privllm.collect.office_package import Package, text_of
from privllm.collect.page_head import AND, MAX_LENGTH
from privllm.collect.parsed import About, NoText
from privllm.collect.readers.archive import Allowance, Member, read_members
from privllm.collect.readers.html import HtmlReader
from privllm.collect.readers.reader import Reader, Row, suffix_of
from privllm.collect.source_file import SourceFile

MEDIA_TYPE = "application/epub+zip"
PAGES = ("application/xhtml+xml", "text/html", "text/x-oeb1-document")
CONTAINER, ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
MAX_LISTS = 16 << 20  # bytes of the lists of a book's files
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")  # ways to make only fonts unreadable


class EpubReader(Reader):
    """Books in EPUB 2 and 3."""

    media_types: ClassVar = {".epub": MEDIA_TYPE}
    holds_many = True

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[Row | SourceFile]:
        """Yield the chapters, and why some, or all, cannot be read."""
        try:
            yield from read_members(file, max_bytes, _chapters)
        except NoText as refusal:
            yield Quarantined(file.source, "", file.size, refusal.reason, refusal.detail)


def _chapters(file: SourceFile, opened: BinaryIO, allowance: Allowance) -> Iterator[Member]:
    """Yield the pages of the spine in their order. Raises `NoText`, where a list of the book is damaged."""
    book = Package(opened, MAX_LISTS)
    try:
        _require_readable(book)
        root = _required(book, CONTAINER).find("{container}rootfiles/{container}rootfile")
        content = root.get("full-path", "") if root is not None else ""
        package = _required(book, content)
        pages = list(_pages(package, posixpath.dirname(content)))
    except TooMuch:
        raise NoText("too_large", f"the lists of its files are over {MAX_LISTS >> 20} MB") from None
    if not pages:
        raise NoText("empty", "a book without chapters")
    about = _about(package)
    for part, name in pages:
        yield Member(part, book.size(part), partial(book.open, part), name, about)


def _required(book: Package, part: str) -> Element:
    tree = book.tree(part)
    if tree is None:
        raise NoText("damaged", f"it lacks {part or 'the list of its files'}")
    return tree


def _require_readable(book: Package) -> None:
    """Raise `NoText` for a book whose chapters are encrypted; fonts may be."""
    tree = book.tree(ENCRYPTION)
    for method in tree.iter("{enc}EncryptionMethod") if tree is not None else ():
        if method.get("Algorithm") not in FONTS:
            raise NoText("encrypted", "it is protected against copying (DRM)")


def _about(package: Element) -> About:
    """Return title, authors and day of a book, by its metadata (Dublin Core)."""
    # EPUB 2 may put them one level deeper, in <dc-metadata>.
    metadata = [entry for part in package.iterfind("{opf}metadata") for entry in part.iter()]
    titles = [text_of(entry) for entry in metadata if entry.tag == "{dc}title"]
    people = [entry for entry in metadata if entry.tag == "{dc}creator"]
    authors = [text_of(entry) for entry in people if entry.get("{opf}role", "aut") == "aut"]
    days = (_DAY.match(text_of(entry)) for entry in metadata if entry.tag == "{dc}date")
    day = next((found[0] for found in days if found), "")
    author = AND.join(dict.fromkeys(filter(None, authors)))
    return About(next(filter(None, titles), "")[:MAX_LENGTH], author[:MAX_LENGTH], day)


def _pages(package: Element, folder: str) -> Iterator[tuple[str, str]]:
    """Yield part and name of each page of the spine once; the name tells that a page is HTML."""
    items = {entry.get("id", ""): entry for entry in package.iterfind("{opf}manifest/{opf}item")}
    found: set[str] = set()
    for reference in package.iterfind("{opf}spine/{opf}itemref"):
        entry = items.get(reference.get("idref", ""))
        if entry is None or "nav" in entry.get("properties", "").split():
            continue
        part = posixpath.normpath(posixpath.join(folder, unquote(entry.get("href", ""))))
        is_named = suffix_of(part) in HtmlReader.media_types
        is_page = entry.get("media-type", "") in PAGES
        if part not in found:
            found.add(part)
            yield part, f"{part}.xhtml" if is_page and not is_named else part
