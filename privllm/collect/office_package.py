"""The XML parts of an office document or a book: a ZIP file, unpacked within an allowance.

XML that declares entities is refused, so nothing in it grows when it is read and nothing outside it
is opened. Namespaces are named by their usual prefixes ("{w}p"), whatever prefixes a
file uses; the strict and the transitional namespaces of OOXML are one.
"""

import posixpath
import zipfile
from collections.abc import Callable
from functools import cached_property
from typing import Any, BinaryIO
from urllib.parse import unquote
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from privllm.collect.allowance import TooMuch
from privllm.collect.parsed import About, NoText
from privllm.collect.zip_kind import DAMAGE, open_zipped

BLOCK = 1 << 16  # bytes
OOXML, STRICT, ODF = (
    "http://schemas.openxmlformats.org/",
    "http://purl.oclc.org/ooxml/",
    "urn:oasis:names:tc:opendocument:xmlns:",
)
PREFIXES = {
    f"{OOXML}wordprocessingml/2006/main": "w",
    f"{STRICT}wordprocessingml/main": "w",
    f"{OOXML}presentationml/2006/main": "p",
    f"{STRICT}presentationml/main": "p",
    f"{OOXML}spreadsheetml/2006/main": "s",
    f"{STRICT}spreadsheetml/main": "s",
    f"{OOXML}drawingml/2006/main": "a",
    f"{STRICT}drawingml/main": "a",
    f"{OOXML}drawingml/2006/chart": "c",
    f"{STRICT}drawingml/chart": "c",
    f"{OOXML}drawingml/2006/spreadsheetDrawing": "xdr",
    f"{STRICT}drawingml/spreadsheetDrawing": "xdr",
    f"{OOXML}drawingml/2006/diagram": "dgm",
    f"{STRICT}drawingml/diagram": "dgm",
    f"{OOXML}officeDocument/2006/relationships": "r",
    f"{STRICT}officeDocument/relationships": "r",
    f"{OOXML}officeDocument/2006/math": "m",
    f"{STRICT}officeDocument/math": "m",
    f"{OOXML}markup-compatibility/2006": "mc",
    f"{OOXML}package/2006/relationships": "rel",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://purl.org/dc/terms/": "dcterms",
    **{f"{ODF}{name}:1.0": name for name in ("office", "text", "table", "style", "meta", "manifest", "presentation")},
    f"{ODF}drawing:1.0": "draw",
    f"{ODF}svg-compatible:1.0": "svg",
    f"{ODF}container": "container",
    "http://www.w3.org/1998/Math/MathML": "math",
    "http://www.w3.org/1999/xlink": "xlink",
    "http://www.idpf.org/2007/opf": "opf",
    "http://www.w3.org/2001/04/xmlenc#": "enc",
}


class Names(dict[str, str]):
    """Names such as "{w}p", by those that expat gives ("<namespace>}p")."""

    def __missing__(self, name: str) -> str:
        namespace, found, local = name.rpartition("}")
        short = f"{{{PREFIXES.get(namespace, 'other')}}}{local}" if found else name
        self[name] = short
        return short


class Package:
    """The parts of a document that is a ZIP file."""

    def __init__(self, opened: BinaryIO, allowance: int) -> None:
        """Open a document; its XML may unpack to `allowance` bytes. Raises `NoText`."""
        try:
            self._archive = zipfile.ZipFile(opened)
        except DAMAGE as error:
            raise NoText("damaged", _detail(error)) from None
        self.parts = dict.fromkeys(self._archive.NameToInfo)  # in the order of the archive
        self._left = allowance
        self._names = Names()

    def open(self, part: str) -> BinaryIO:
        """Open a part for reading. Raises one of DAMAGE."""
        return open_zipped(self._archive, self._archive.getinfo(part))

    def require(self, part: str) -> None:
        """Raise `NoText` where the document lacks a part of its content that it names."""
        if part not in self.parts:
            raise NoText("damaged", f"it lacks {part}")

    def size(self, part: str) -> int:
        """Return a part's bytes as the document says, 0 where it lacks the part."""
        return self._archive.NameToInfo[part].file_size if part in self.parts else 0

    def tree(self, part: str) -> Element | None:
        """Return a part's XML, None where the document lacks it. Raises `NoText`, and `TooMuch`."""
        if part not in self.parts:
            return None
        builder = TreeBuilder()
        names, start_element = self._names, builder.start

        def start(name: str, attributes: dict[str, str]) -> None:
            start_element(names[name], {names[key]: value for key, value in attributes.items()})

        def end(name: str) -> None:
            builder.end(names[name])

        self.feed(part, start, end, builder.data)
        return builder.close()

    def feed(
        self,
        part: str,
        start: Callable[[str, dict[str, str]], None],
        end: Callable[[str], None],
        data: Callable[[str], Any],
    ) -> None:
        """Give the elements and texts of a part to handlers, by the names of expat. Raises `NoText`, and `TooMuch`."""
        parser = expat.ParserCreate(None, "}")
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, data
        parser.EntityDeclHandler = _refuse_entities
        try:
            with self.open(part) as opened:
                while block := opened.read(BLOCK):
                    self._left -= len(block)
                    if self._left < 0:
                        raise TooMuch
                    parser.Parse(block, False)
                parser.Parse(b"", True)
        except (*DAMAGE, expat.ExpatError) as error:
            reason = "encrypted" if "is encrypted" in str(error) else "damaged"
            raise NoText(reason, f"{part}: {_detail(error)}") from None

    def short(self, name: str) -> str:
        """Return a name such as "{w}p" for one of expat."""
        return self._names[name]

    @cached_property
    def _by_lower_case(self) -> dict[str, str]:
        return {part.lower(): part for part in self.parts}

    def found(self, name: str) -> str:
        """Return the part that a document names: escapes and capitals count for nothing (ISO 29500-2); `name` where it lacks it."""
        if name in self.parts:
            return name
        return self._by_lower_case.get(unquote(name).lower(), name)

    def related(self, part: str) -> dict[str, tuple[str, str]]:
        """Return {id: (last word of its type, part)} of the parts that a part of an OOXML document names."""
        folder, name = posixpath.split(part)
        tree = self.tree(self.found(posixpath.join(folder, "_rels", f"{name}.rels")))
        found: dict[str, tuple[str, str]] = {}
        for relation in tree if tree is not None else ():
            if relation.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, relation.get("Target", "")))
                kind = relation.get("Type", "").rpartition("/")[2]
                found[relation.get("Id", "")] = kind, self.found(target.lstrip("/"))
        return found

    def main_part(self, usual: str) -> str:
        """Return the part of an OOXML document that holds its content."""
        main = [target for kind, target in self.related("").values() if kind == "officeDocument"]
        return main[0] if main and main[0] in self.parts else usual


def properties(package: Package) -> About:
    """Return title, author and date of an OOXML document."""
    tree = package.tree("docProps/core.xml")
    if tree is None:
        return About()
    title, author, date = (text_of(tree.find(name)) for name in ("{dc}title", "{dc}creator", "{dcterms}created"))
    return About(title, author, date[:10])


def text_of(element: Element | None) -> str:
    """Return all text in an element as one line, "" without one."""
    return "" if element is None else " ".join("".join(element.itertext()).split())


def _refuse_entities(*_: Any) -> None:
    raise NoText("unsafe_xml", "its XML declares entities, which no office program writes")


def _detail(error: Exception) -> str:
    return str(error)[:160] or type(error).__name__
