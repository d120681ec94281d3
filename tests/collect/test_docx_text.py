"""Text of Word documents: headings, lists, tables, notes, and what is left out."""

import pytest

from privllm.collect.office_text import office_text
from privllm.collect.parsed import NoText, Parsed
from tests.office_files import NAMESPACES, OOXML, docx_of, ooxml, paragraph, relationships

STYLES = """
<w:style w:styleId="T"><w:name w:val="Title"/></w:style>
<w:style w:styleId="H2"><w:name w:val="heading 2"/></w:style>
<w:style w:styleId="Own"><w:name w:val="Our heading"/><w:basedOn w:val="H2"/></w:style>
<w:style w:styleId="Outline"><w:name w:val="x"/><w:pPr><w:outlineLvl w:val="2"/></w:pPr></w:style>
<w:style w:styleId="Bullets"><w:name w:val="List Bullet"/><w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr></w:style>
<w:style w:styleId="Toc"><w:name w:val="toc 1"/></w:style>
<w:style w:styleId="Hidden"><w:name w:val="Hidden"/><w:rPr><w:vanish/></w:rPr></w:style>
"""
NUMBERING = """
<w:abstractNum w:abstractNumId="7"><w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/></w:lvl></w:abstractNum>
<w:abstractNum w:abstractNumId="8">
<w:lvl w:ilvl="0"><w:start w:val="3"/><w:numFmt w:val="decimal"/></w:lvl>
<w:lvl w:ilvl="1"><w:start w:val="1"/><w:numFmt w:val="lowerLetter"/></w:lvl></w:abstractNum>
<w:num w:numId="1"><w:abstractNumId w:val="7"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="8"/></w:num>
<w:num w:numId="3"><w:abstractNumId w:val="8"/>
<w:lvlOverride w:ilvl="0"><w:startOverride w:val="9"/></w:lvlOverride></w:num>
"""


def text_of(body: str, **parts: str) -> str:
    return office_text(docx_of(body, **parts)).text


def listed(text: str, number: int, depth: int = 0) -> str:
    return paragraph(text, f'<w:numPr><w:ilvl w:val="{depth}"/><w:numId w:val="{number}"/></w:numPr>')


def test_a_document_says_what_it_is() -> None:
    parsed = office_text(docx_of(paragraph("Deep water.")))
    assert parsed == Parsed("Deep water.", "On harbours", "A. Keeper", "2026-11-26")


@pytest.mark.parametrize(
    ("style", "mark"),
    [("T", "# "), ("H2", "## "), ("Own", "## "), ("Outline", "### "), ("Other", ""), ("Bullets", "- ")],
)
def test_styles_make_headings_and_lists(style: str, mark: str) -> None:
    body = paragraph("Piers", f'<w:pStyle w:val="{style}"/>')
    assert text_of(body, styles=STYLES, numbering=NUMBERING) == f"{mark}Piers"


def test_an_outline_level_of_a_paragraph_makes_a_heading() -> None:
    assert text_of(paragraph("Piers", '<w:outlineLvl w:val="0"/>')) == "# Piers"
    assert text_of(paragraph("Piers", '<w:pStyle w:val="H2"/><w:outlineLvl w:val="9"/>'), styles=STYLES) == "Piers"


def test_lists_are_numbered_by_level() -> None:
    items = [listed("a", 2), listed("b", 2, 1), listed("c", 2, 1), listed("d", 2), listed("e", 2, 1), listed("f", 3)]
    body = paragraph("Before.") + "".join(items) + listed("g", 1) + paragraph("After.")
    lines = ["3. a", "  1. b", "  2. c", "4. d", "  1. e", "9. f", "- g"]
    assert text_of(body, numbering=NUMBERING) == "\n\n".join(["Before.", "\n".join(lines), "After."])


def cell(content: str, properties: str = "") -> str:
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{content}</w:tc>"


def test_a_table_is_rows_of_cells() -> None:
    head = f"<w:tr>{cell(paragraph('Pier'))}{cell(paragraph('Depth'))}</w:tr>"
    body = f"<w:tr>{cell(paragraph('East|West'))}{cell(paragraph('12') + paragraph('m'))}</w:tr>"
    merged = f"<w:tr>{cell(paragraph('lost'), '<w:vMerge/>')}{cell(paragraph('8 m'))}</w:tr>"
    gone = f"<w:tr><w:trPr><w:del/></w:trPr>{cell(paragraph('gone'))}{cell(paragraph('gone'))}</w:tr>"
    lines = ["| Pier | Depth |", "| --- | --- |", "| East\\|West | 12 m |", "|  | 8 m |"]
    assert text_of(f"<w:tbl>{head}{body}{merged}{gone}</w:tbl>") == "\n".join(lines)


def test_a_table_of_one_column_is_its_blocks() -> None:
    inner = paragraph("Piers", '<w:pStyle w:val="H2"/>') + paragraph("Deep.")
    assert text_of(f"<w:tbl><w:tr>{cell(inner)}</w:tr></w:tbl>", styles=STYLES) == "## Piers\n\nDeep."


def test_notes_follow_the_text_in_the_order_of_their_references() -> None:
    separator = f'<w:footnote w:id="0" w:type="separator">{paragraph("line")}</w:footnote>'
    foot = f'{separator}<w:footnote w:id="2">{paragraph("On foot.")}</w:footnote>'
    end = f'<w:endnote w:id="2">{paragraph("At last.")}</w:endnote>'
    body = (
        '<w:p><w:r><w:t>One</w:t><w:endnoteReference w:id="2"/></w:r><w:r><w:t>, two</w:t>'
        '<w:footnoteReference w:id="2"/><w:footnoteReference w:id="99"/></w:r></w:p>'
    )
    assert text_of(body, footnotes=foot, endnotes=end) == "One[^1], two[^2]\n\n[^1]: At last.\n\n[^2]: On foot."


def test_text_boxes_follow_their_paragraph_once() -> None:
    box = f"<w:txbxContent>{paragraph('In the box.')}</w:txbxContent>"
    drawing = (
        f"<mc:AlternateContent><mc:Choice><w:drawing>{box}</w:drawing></mc:Choice>"
        f"<mc:Fallback><w:pict>{box}</w:pict></mc:Fallback></mc:AlternateContent>"
    )
    assert text_of(f"<w:p><w:r><w:t>Beside it.</w:t>{drawing}</w:r></w:p>") == "Beside it.\n\nIn the box."


RUN = "<w:r><w:t>kept</w:t></w:r>"
LEFT_OUT = {
    "hidden": "<w:r><w:rPr><w:vanish/></w:rPr><w:t>gone</w:t></w:r>",
    "hidden by style": '<w:r><w:rPr><w:rStyle w:val="Hidden"/></w:rPr><w:t>gone</w:t></w:r>',
    "deleted": "<w:del><w:r><w:delText>gone</w:delText><w:t>gone</w:t></w:r></w:del>",
    "moved away": "<w:moveFrom><w:r><w:t>gone</w:t></w:r></w:moveFrom>",
    "field code": "<w:r><w:instrText>PAGE gone</w:instrText></w:r>",
    "reading": "<w:r><w:ruby><w:rt><w:r><w:t>gone</w:t></w:r></w:rt></w:ruby></w:r>",
}
KEPT = {
    "inserted": f"<w:ins>{RUN}</w:ins>",
    "link": f"<w:hyperlink>{RUN}</w:hyperlink>",
    "field": f"<w:fldSimple>{RUN}</w:fldSimple>",
    "control": f"<w:sdt><w:sdtContent>{RUN}</w:sdtContent></w:sdt>",
    "not hidden": '<w:r><w:rPr><w:vanish w:val="0"/></w:rPr><w:t>kept</w:t></w:r>',
    "formula": "<m:oMath><m:r><m:t>kept</m:t></m:r></m:oMath>",
    "characters under a reading": f"<w:r><w:ruby><w:rubyBase>{RUN}</w:rubyBase></w:ruby></w:r>",
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_readers_do_not_see_is_left_out(name: str) -> None:
    assert text_of(f"<w:p>{RUN}{LEFT_OUT[name]}</w:p>", styles=STYLES) == "kept"


@pytest.mark.parametrize("name", KEPT)
def test_what_readers_see_is_kept(name: str) -> None:
    assert text_of(f"<w:p>{KEPT[name]}</w:p>") == "kept"


def test_headers_and_the_table_of_contents_are_left_out() -> None:
    contents = '<w:docPartObj><w:docPartGallery w:val="Table of Contents"/></w:docPartObj>'
    control = f"<w:sdt><w:sdtPr>{contents}</w:sdtPr><w:sdtContent>{paragraph('Piers 7')}</w:sdtContent></w:sdt>"
    body = control + paragraph("Piers 7", '<w:pStyle w:val="Toc"/>') + paragraph("Deep.")
    assert text_of(body, styles=STYLES, header1=paragraph("Handbook")) == "Deep."


def test_the_strict_namespace_is_read() -> None:
    strict = NAMESPACES.replace(
        f"{OOXML}wordprocessingml/2006/main", "http://purl.oclc.org/ooxml/wordprocessingml/main"
    )
    xml = f"<w:document {strict}><w:body>{paragraph('Deep.')}</w:body></w:document>"
    assert office_text(ooxml("word/document.xml", {"word/document.xml": xml})).text == "Deep."


def test_styles_that_are_based_on_each_other_end() -> None:
    ring = "".join(
        f'<w:style w:styleId="{name}"><w:name w:val="{name}"/><w:basedOn w:val="{other}"/></w:style>'
        for name, other in ("ab", "ba")
    )
    assert text_of(paragraph("Deep.", '<w:pStyle w:val="a"/>'), styles=ring) == "Deep."


def test_notes_are_found_whatever_their_part_is_called() -> None:
    body = '<w:p><w:r><w:t>Deep</w:t><w:footnoteReference w:id="2"/></w:r></w:p>'
    note = f'<w:footnote w:id="2">{paragraph("At ebb.")}</w:footnote>'
    parts = {  # as Word on the web calls them
        "word/document2.xml": f"<w:document {NAMESPACES}><w:body>{body}</w:body></w:document>",
        "word/footnotes2.xml": f"<w:footnotes {NAMESPACES}>{note}</w:footnotes>",
        "word/_rels/document2.xml.rels": relationships({"a": ("footnotes", "footnotes2.xml")}),
    }
    assert office_text(ooxml("word/document2.xml", parts)).text == "Deep[^1]\n\n[^1]: At ebb."


def test_a_diagram_follows_its_paragraph() -> None:
    drawing = '<w:drawing><a:graphic><a:graphicData><dgm:relIds r:dm="d"/></a:graphicData></a:graphic></w:drawing>'
    body = f"<w:p><w:r><w:t>Piers</w:t>{drawing}</w:r></w:p>"
    point = "<dgm:pt><dgm:t><a:p><a:r><a:t>East</a:t></a:r></a:p></dgm:t></dgm:pt>"
    parts = {
        "word/document.xml": f"<w:document {NAMESPACES}><w:body>{body}</w:body></w:document>",
        "word/data1.xml": f"<dgm:dataModel {NAMESPACES}><dgm:ptLst>{point}</dgm:ptLst></dgm:dataModel>",
        "word/_rels/document.xml.rels": relationships({"d": ("diagramData", "data1.xml")}),
    }
    assert office_text(ooxml("word/document.xml", parts)).text == "Piers\n\n- East"


def test_a_document_inside_that_only_word_takes_in_is_said() -> None:
    with pytest.raises(NoText) as refusal:
        text_of(f'{paragraph("Deep.")}<w:altChunk r:id="a"/>')
    assert refusal.value.reason == "unsupported"
