"""EPUB books: each chapter is a part, `book.epub#text/chapter1.xhtml`, which the reader of HTML reads.

The order of the chapters is that of the book's spine. Its table of contents, pictures and styles are left out.
A chapter is found also where the spine writes its name otherwise than the archive. Where the lists are damaged, all pages
that the book holds are read after those that they name, and the damage is a row of the quarantine.
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
Page = tuple[str, str]  # its part, and a name that tells its format
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
    """Yield the pages of the spine in their order, and others where it is damaged. Raises `NoText`, for damage of the lists at the end."""
    book = Package(opened, MAX_LISTS)
    about, pages, damage = About(), list[Page](), ""
    try:
        _require_readable(book)
        package, folder = _list_of(book)
        about = _about(package)
        pages, damage = _pages(book, package, folder)
    except TooMuch:
        raise NoText("too_large", f"the lists of its files are over {MAX_LISTS >> 20} MB") from None
    except NoText as refusal:
        if refusal.reason != "damaged":
            raise
        damage = refusal.detail
    if damage:
        named = {part for part, _ in pages}
        pages += [
            (part, part) for part in book.parts if suffix_of(part) in HtmlReader.media_types and part not in named
        ]
    if not pages:
        raise NoText("damaged" if damage else "empty", damage or "a book without chapters")
    for part, name in pages:
        yield Member(part, book.size(part), partial(book.open, part), name, about)
    if damage:
        raise NoText("damaged", damage)


def _list_of(book: Package) -> tuple[Element, str]:
    """Return the list of a book's files, and the folder that their names begin in. Raises `NoText`."""
    container = book.tree(CONTAINER)
    root = container.find("{container}rootfiles/{container}rootfile") if container is not None else None
    named = root.get("full-path", "") if root is not None else ""
    content = _found(book, named) if named else ""
    if content not in book.parts:
        content = next((part for part in book.parts if part.lower().endswith(".opf")), named)
    return _required(book, content), posixpath.dirname(content)


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


def _pages(book: Package, package: Element, folder: str) -> tuple[list[Page], str]:
    """Return part and name of each page of the spine once, and what is wrong with it; the name tells that a page is HTML."""
    items = {entry.get("id", ""): entry for entry in package.iterfind("{opf}manifest/{opf}item")}
    references = [entry.get("idref", "") for entry in package.iterfind("{opf}spine/{opf}itemref")]
    unknown = [reference for reference in references if reference not in items]
    damage = f"its spine names {unknown[0][:100]!r}, which its manifest lacks" if unknown else ""
    if items and not references:
        damage = "it has no spine"
    pages: dict[str, str] = {}
    in_spine = set(references)
    named = [items[reference] for reference in references if reference in items]
    for entry in named if not damage else [*named, *items.values()]:
        is_page = entry.get("media-type", "") in PAGES
        if "nav" in entry.get("properties", "").split() or (entry.get("id", "") not in in_spine and not is_page):
            continue
        part = _found(book, posixpath.normpath(posixpath.join(folder, entry.get("href", ""))))
        is_named = suffix_of(part) in HtmlReader.media_types
        pages.setdefault(part, f"{part}.xhtml" if is_page and not is_named else part)
    return list(pages.items()), damage


def _found(book: Package, reference: str) -> str:
    """Return the part that a list means: of that name, else of one that differs in escapes, capitals or its folder."""
    unquoted = unquote(reference)
    path = unquoted.replace("\\", "/").partition("#")[0].lstrip("/")
    for part in (unquoted, reference, path):
        if part in book.parts:
            return part
    lower = [part for part in book.parts if unquote(part).lower() == path.lower()]
    name = posixpath.basename(path).lower()
    return (
        next(iter(lower), "")
        or _only([part for part in book.parts if posixpath.basename(part).lower() == name])
        or unquoted
    )


def _only(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ""
