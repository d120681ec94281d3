"""Text of presentations: slides in order, titles, lists, tables, notes, and what is left out."""

import pytest

from privllm.collect.office_text import office_text
from privllm.collect.parsed import NoText, Parsed
from tests.office_files import NAMESPACES, lines, pptx_of, relationships, shape, slide_of

TITLE, BODY = '<p:ph type="title"/>', '<p:ph idx="1"/>'
NOTES = {
    "ppt/slides/_rels/slide1.xml.rels": relationships({"n": ("notesSlide", "../notesSlides/notes1.xml")}),
    "ppt/notesSlides/notes1.xml": slide_of(
        shape(lines("Speak up.", "Slowly."), '<p:ph type="body"/>') + shape(lines("7"), '<p:ph type="sldNum"/>'),
        kind="notes",
    ),
}


def frame(content: str) -> str:
    names = '<p:nvGraphicFramePr><p:cNvPr id="1" name="a"/></p:nvGraphicFramePr>'
    return f"<p:graphicFrame>{names}<a:graphic><a:graphicData>{content}</a:graphicData></a:graphic></p:graphicFrame>"


def test_slides_follow_in_their_order_with_titles_and_notes() -> None:
    first = shape(lines("Deep water.")) + shape(lines("Harbours"), TITLE)
    parsed = office_text(pptx_of(first, shape(lines("Piers"), TITLE), parts=NOTES))
    text = "## Harbours\n\nDeep water.\n\nNotes: Speak up.\n\nSlowly.\n\n## Piers"
    assert parsed == Parsed(text, "On harbours", "A. Keeper", "2026-11-26")


def test_paragraphs_of_a_placeholder_are_a_list() -> None:
    inner = lines("b", properties='<a:pPr lvl="1"/>')
    plain = lines("c", properties="<a:pPr><a:buNone/></a:pPr>")
    assert office_text(pptx_of(shape(lines("a") + inner + plain, BODY))).text == "- a\n  - b\n\nc"
    assert office_text(pptx_of(shape(lines("Only one."), BODY))).text == "Only one."
    marked = lines("a", properties='<a:pPr><a:buChar char="x"/></a:pPr>')
    assert office_text(pptx_of(shape(marked))).text == "- a"


def test_tables_and_diagrams_are_read() -> None:
    rows = ""
    for left, right in (("Pier", "Depth"), ("East", "12 m")):
        cells = "".join(f"<a:tc><a:txBody>{lines(text)}</a:txBody></a:tc>" for text in (left, right))
        rows += f'<a:tr>{cells}<a:tc hMerge="1"><a:txBody>{lines("gone")}</a:txBody></a:tc></a:tr>'
    assert (
        office_text(pptx_of(frame(f"<a:tbl>{rows}</a:tbl>"))).text == "| Pier | Depth |\n| --- | --- |\n| East | 12 m |"
    )
    points = f"<dgm:pt><dgm:t>{lines('East', 'West')}</dgm:t></dgm:pt>"
    parts = {
        "ppt/slides/_rels/slide1.xml.rels": relationships({"d": ("diagramData", "../diagrams/data1.xml")}),
        "ppt/diagrams/data1.xml": f"<dgm:dataModel {NAMESPACES}><dgm:ptLst>{points}</dgm:ptLst></dgm:dataModel>",
    }
    assert office_text(pptx_of(frame('<dgm:relIds r:dm="d"/>'), parts=parts)).text == "- East\n- West"


def test_what_is_not_shown_or_repeats_is_left_out() -> None:
    hidden = shape(lines("gone"), attributes='hidden="1"')
    group = (
        f'<p:grpSp><p:nvGrpSpPr><p:cNvPr id="1" name="g" hidden="true"/></p:nvGrpSpPr>{shape(lines("gone"))}</p:grpSp>'
    )
    margins = "".join(shape(lines("gone"), f'<p:ph type="{kind}"/>') for kind in ("dt", "ftr", "sldNum"))
    number = '<a:p><a:r><a:t>kept</a:t></a:r><a:fld type="slidenum"><a:t>7</a:t></a:fld></a:p>'
    assert office_text(pptx_of(hidden + group + margins + shape(number))).text == "kept"
    assert office_text(pptx_of(shape(lines("gone")), attributes='show="0"')).text == ""


def test_shapes_in_groups_are_read() -> None:
    group = f'<p:grpSp><p:nvGrpSpPr><p:cNvPr id="1" name="g"/></p:nvGrpSpPr>{shape(lines("kept"))}</p:grpSp>'
    assert office_text(pptx_of(group)).text == "kept"


def test_a_slide_that_is_missing_is_said() -> None:
    gone = {"ppt/_rels/presentation.xml.rels": relationships({"s1": ("slide", "slides/gone.xml")})}
    with pytest.raises(NoText) as refusal:
        office_text(pptx_of(shape(lines("One")), parts=gone))
    assert refusal.value.reason == "damaged"
