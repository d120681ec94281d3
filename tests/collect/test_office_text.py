"""Office documents by their bytes: which parser reads them, and why some are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.collect import office_text as module
from privllm.collect.office_text import OLE, office_text
from privllm.collect.parsed import NoText
from tests.office_files import NAMESPACES, docx_of, lines, odf_of, ooxml, paragraph, pptx_of, shape, xlsx_of, zip_of

SHEET = '<sheetData><row r="1"><c r="A1"><v>12</v></c></row></sheetData>'
GOOD = {
    "docx": docx_of(paragraph("Deep.")),
    "pptx": pptx_of(shape(lines("Deep."))),
    "xlsx": xlsx_of(SHEET),
    "odt": odf_of("text", "<text:p>Deep.</text:p>"),
    "ods": odf_of("spreadsheet", "<table:table/>"),
    "odp": odf_of("presentation", "<draw:page/>"),
}


def reason_of(data: bytes) -> str:
    with pytest.raises(NoText) as refusal:
        office_text(data)
    assert refusal.value.detail
    return refusal.value.reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (OLE + "EncryptedPackage".encode("utf-16-le"), "encrypted"),
        (OLE + bytes(100), "unsupported"),
        (b"", "damaged"),
        (b"PK\x03\x04", "damaged"),
        (zip_of({"a.txt": "words"}), "damaged"),
        (ooxml("word/document.xml", {"word/other.xml": "<a/>"}), "damaged"),
        (ooxml("ppt/presentation.xml", {"ppt/other.xml": "<a/>"}), "damaged"),
        (ooxml("xl/workbook.xml", {"xl/other.xml": "<a/>"}), "damaged"),
        (zip_of({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": "<a/>"}), "damaged"),
        (ooxml("word/document.xml", {"word/document.xml": "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"}), "unsafe_xml"),
    ],
)
def test_what_gives_no_text_says_why(data: bytes, reason: str) -> None:
    assert reason_of(data) == reason


def test_a_document_that_unpacks_to_too_much_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FREE_BYTES", 100_000)
    monkeypatch.setattr(module, "MAX_RATIO", 3)
    assert reason_of(docx_of(paragraph("a" * 200_000))) == "too_much"


def test_a_document_that_is_too_deep_is_refused() -> None:
    depth = 50_000
    xml = f"<w:document {NAMESPACES}><w:body>{'<w:ins>' * depth}{'</w:ins>' * depth}</w:body></w:document>"
    assert reason_of(ooxml("word/document.xml", {"word/document.xml": xml})) == "too_deep"


def test_parts_that_name_each_other_end() -> None:
    note = '<w:footnote w:id="1"><w:p><w:r><w:t>a</w:t><w:footnoteReference w:id="1"/></w:r></w:p></w:footnote>'
    body = '<w:p><w:r><w:footnoteReference w:id="1"/></w:r></w:p>'
    assert office_text(docx_of(body, footnotes=note)).text == "[^1]\n\n[^1]: a[^1]"


def test_equal_bytes_give_equal_text() -> None:
    for data in GOOD.values():
        assert office_text(data) == office_text(data)


@given(data=st.data(), kind=st.sampled_from(sorted(GOOD)))
def test_changed_bytes_give_a_text_or_a_reason(data: st.DataObject, kind: str) -> None:
    """Of the archive, and of the XML in it."""
    changed = bytearray(GOOD[kind])
    edits = st.tuples(st.integers(0, len(changed) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(edits, min_size=1, max_size=20)):
        changed[place] = value
    _reads_or_refuses(bytes(changed))


FRAGMENTS = st.sampled_from(
    [
        *("<w:p>", "</w:p>", "<w:tbl>", "</w:tbl>", "<w:tr>", "</w:tr>", "<w:tc>", "</w:tc>", "<w:r>", "</w:r>"),
        *('<w:numPr><w:numId w:val="1"/></w:numPr>', '<w:pStyle w:val="a"/>', "<w:t>a</w:t>", "<w:txbxContent>"),
        *('<w:footnoteReference w:id="1"/>', "<w:sdt>", "<w:sdtContent/>", "</w:sdt>", "<mc:AlternateContent/>"),
    ]
)


@given(st.lists(FRAGMENTS, max_size=30))
def test_any_order_of_elements_gives_a_text_or_a_reason(pieces: list[str]) -> None:
    opened: list[str] = []
    made = ""
    for piece in pieces:
        if piece.startswith("</"):
            if not opened or opened[-1] != piece:
                continue
            opened.pop()
        elif not piece.endswith("/>") and "</" not in piece:
            opened.append(piece.replace("<", "</"))
        made += piece
    _reads_or_refuses(
        docx_of(made + "".join(reversed(opened)), footnotes=f'<w:footnote w:id="1">{paragraph("a")}</w:footnote>')
    )


def _reads_or_refuses(data: bytes) -> None:
    reason = ""
    try:
        assert isinstance(office_text(data).text, str)
    except NoText as refusal:
        reason = refusal.reason
    assert reason in ("", "damaged", "encrypted", "unsupported", "unsafe_xml", "too_much")
