"""Parts of office documents: nothing is opened outside, nothing grows beyond the allowance."""

import io

import pytest

from privllm.collect.allowance import TooMuch
from privllm.collect.office_package import Package
from privllm.collect.parsed import NoText
from tests.office_files import NAMESPACES, relationships, zip_of

ALLOWANCE = 100_000


def package_of(xml: str | bytes) -> Package:
    return Package(io.BytesIO(zip_of({"a.xml": xml})), ALLOWANCE)


def reason_of(xml: str | bytes) -> str:
    with pytest.raises(NoText) as refusal:
        package_of(xml).tree("a.xml")
    return refusal.value.reason


def test_names_have_their_usual_prefixes() -> None:
    xml = f'<x:p {NAMESPACES.replace("xmlns:w", "xmlns:x")} x:val="1" val="2"><y xmlns="urn:else"/></x:p>'
    tree = package_of(xml).tree("a.xml")
    assert tree is not None
    assert (tree.tag, tree.attrib, tree[0].tag) == ("{w}p", {"{w}val": "1", "val": "2"}, "{other}y")
    assert package_of(xml).tree("b.xml") is None


@pytest.mark.parametrize(
    "declaration",
    ['<!ENTITY a "aaaa">', '<!ENTITY a SYSTEM "file:///etc/passwd">', '<!ENTITY % a SYSTEM "http://127.0.0.1/">'],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_that_declares_entities_is_refused(declaration: str, encoding: str) -> None:
    assert reason_of(f"<!DOCTYPE x [{declaration}]><x>&a;</x>".encode(encoding)) == "unsafe_xml"


def test_an_outside_definition_is_not_opened() -> None:
    tree = package_of('<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><x>a</x>').tree("a.xml")
    assert tree is not None
    assert tree.text == "a"


def test_damaged_xml_says_where() -> None:
    assert reason_of("<a><b></a>") == "damaged"
    assert reason_of("") == "damaged"
    assert reason_of('<?xml version="1.0" encoding="UTF98"?><a/>') == "damaged"
    with pytest.raises(NoText, match="damaged"):
        Package(io.BytesIO(b"no ZIP file"), ALLOWANCE)


def test_all_parts_together_unpack_to_no_more_than_the_allowance() -> None:
    half = f"<a>{' ' * (ALLOWANCE // 2)}</a>"
    package = Package(io.BytesIO(zip_of({"a.xml": half, "b.xml": half})), ALLOWANCE)
    assert package.tree("a.xml") is not None
    with pytest.raises(TooMuch):
        package.tree("b.xml")


def test_relationships_lead_to_parts() -> None:
    targets = {"a": ("slide", "../b.xml"), "c": ("notes", "/d/e.xml"), "f": ("image", "../../../up.png")}
    package = Package(io.BytesIO(zip_of({"x/_rels/y.xml.rels": relationships(targets)})), ALLOWANCE)
    assert package.related("x/y.xml") == {"a": ("slide", "b.xml"), "c": ("notes", "d/e.xml"), "f": ("image", "up.png")}
    assert package.related("other.xml") == {}


def test_an_encrypted_part_says_so() -> None:
    data = bytearray(zip_of({"a.xml": "<a/>"}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    with pytest.raises(NoText) as refusal:
        Package(io.BytesIO(bytes(data)), ALLOWANCE).tree("a.xml")
    assert refusal.value.reason == "encrypted"


def test_names_of_parts_differ_neither_by_capitals_nor_by_escapes() -> None:
    targets = {"a": ("slide", "Slides/my%20slide.xml"), "b": ("slide", "slides/gone.xml")}
    package = Package(
        io.BytesIO(zip_of({"_rels/A.xml.rels": relationships(targets), "slides/My slide.xml": "<a/>"})), ALLOWANCE
    )
    assert package.related("a.xml") == {"a": ("slide", "slides/My slide.xml"), "b": ("slide", "slides/gone.xml")}
    package.require("slides/My slide.xml")
    with pytest.raises(NoText) as refusal:
        package.require("slides/gone.xml")
    assert refusal.value.reason == "damaged"
