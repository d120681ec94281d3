"""Texts of drawings: paragraphs of shapes, diagrams, charts."""

import io
from xml.etree.ElementTree import Element

import pytest

from privllm.collect.drawing_text import graphics, paragraphs, text_boxes
from privllm.collect.markdown_blocks import joined
from privllm.collect.office_package import Package
from tests.office_files import NAMESPACES, OOXML, lines, zip_of

CHART = f'xmlns:c="{OOXML}drawingml/2006/chart" {NAMESPACES}'
SHEET = f'xmlns:xdr="{OOXML}drawingml/2006/spreadsheetDrawing" {NAMESPACES}'
RELATED = {"d": ("diagramData", "d.xml"), "c": ("chart", "c.xml")}


def package_of(**parts: str) -> Package:
    return Package(io.BytesIO(zip_of({f"{name}.xml": xml for name, xml in parts.items()})), 100_000)


def tree_of(xml: str) -> Element:
    tree = package_of(a=xml).tree("a.xml")
    assert tree is not None
    return tree


def test_paragraphs_have_line_ends_and_no_numbers_of_slides() -> None:
    pieces = (
        '<a:r><a:t>East</a:t></a:r><a:br/><a:fld type="slidenum"><a:t>7</a:t></a:fld><a:fld><a:t>pier</a:t></a:fld>'
    )
    body = tree_of(f"<a:txBody {NAMESPACES}><a:p>{pieces}</a:p></a:txBody>")
    assert [text for _, text in paragraphs(body)] == ["East\npier"]
    assert list(paragraphs(None)) == []


def points(*texts: str) -> str:
    return "".join(f'<c:pt idx="{place}"><c:v>{text}</c:v></c:pt>' for place, text in enumerate(texts))


def test_a_chart_is_its_titles_and_its_values() -> None:
    series = ""
    for name, first, second in (("East", "1", "2"), ("West", "3", "")):
        kinds = (
            f"<c:tx>{points(name)}</c:tx><c:cat>{points('May', 'June')}</c:cat><c:val>{points(first, second)}</c:val>"
        )
        series += f"<c:ser>{kinds}</c:ser>"
    title = f"<c:title><c:tx><c:rich>{lines('Depths')}</c:rich></c:tx></c:title>"
    package = package_of(c=f"<c:chartSpace {CHART}><c:chart>{title}{series}</c:chart></c:chartSpace>")
    blocks = graphics(package, tree_of(f'<x {CHART}><c:chart r:id="c"/></x>'), RELATED)
    assert joined(blocks) == "Depths\n\n|  | East | West |\n| --- | --- | --- |\n| May | 1 | 3 |\n| June | 2 |  |"


def test_a_diagram_is_a_list() -> None:
    points_of_diagram = f"<dgm:pt><dgm:t>{lines('East', 'West')}</dgm:t></dgm:pt>"
    package = package_of(d=f"<dgm:dataModel {NAMESPACES}><dgm:ptLst>{points_of_diagram}</dgm:ptLst></dgm:dataModel>")
    blocks = graphics(package, tree_of(f'<x {NAMESPACES}><dgm:relIds r:dm="d"/></x>'), RELATED)
    assert joined(blocks) == "- East\n- West"


@pytest.mark.parametrize("name", ["dgm:relIds r:dm", "c:chart r:id"])
def test_a_drawing_that_is_gone_has_no_text(name: str) -> None:
    assert list(graphics(package_of(), tree_of(f'<x {CHART}><{name}="d"/></x>'), RELATED)) == []


def test_text_boxes_of_a_sheet_are_read_but_for_hidden_ones() -> None:
    boxes = ""
    for text, attributes in (("kept", ""), ("gone", 'hidden="1"')):
        names = f'<xdr:nvSpPr><xdr:cNvPr id="1" name="a" {attributes}/></xdr:nvSpPr>'
        boxes += f"<xdr:sp>{names}<xdr:txBody>{lines(text)}</xdr:txBody></xdr:sp>"
    assert joined(text_boxes(tree_of(f"<xdr:wsDr {SHEET}><xdr:grpSp>{boxes}</xdr:grpSp></xdr:wsDr>"))) == "kept"
    assert list(text_boxes(None)) == []
