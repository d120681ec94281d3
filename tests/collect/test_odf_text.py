"""Text of OpenDocument files: texts, spreadsheets and presentations."""

import pytest

from privllm.collect.odf_text import MAX_SPACES
from privllm.collect.office_text import office_text
from privllm.collect.parsed import NoText, Parsed
from tests.office_files import ODF_NAMESPACES, odf_of

STYLES = """
<style:style style:name="P1" style:parent-style-name="Title"/>
<style:style style:name="Gone"><style:text-properties text:display="none"/></style:style>
<style:style style:name="GoneTable"><style:table-properties table:display="false"/></style:style>
<style:style style:name="GoneSlide"><style:drawing-page-properties presentation:visibility="hidden"/></style:style>
<text:list-style style:name="N"><text:list-level-style-number text:level="1" style:num-format="1"/>
<text:list-level-style-bullet text:level="2"/></text:list-style>
"""


TWICE, DATE = 'table:number-columns-repeated="2"', 'office:value-type="date"'


def text_of(body: str, kind: str = "text") -> str:
    return office_text(odf_of(kind, body, STYLES)).text


def item(*content: str) -> str:
    return f"<text:list-item>{''.join(content)}</text:list-item>"


def p(text: str, style: str = "") -> str:
    return f'<text:p text:style-name="{style}">{text}</text:p>'


def test_a_document_says_what_it_is() -> None:
    assert office_text(odf_of("text", p("Deep."))) == Parsed("Deep.", "On harbours", "A. Keeper", "2026-11-26")


def test_headings_and_paragraphs() -> None:
    body = p("Harbours", "P1") + '<text:h text:outline-level="2">Piers</text:h>' + p("Deep  \n water.")
    assert text_of(f"<text:section>{body}</text:section>") == "# Harbours\n\n## Piers\n\nDeep water."


def test_pieces_of_a_paragraph_are_joined_as_they_are_shown() -> None:
    body = '<text:span>De</text:span>ep<text:s text:c="2"/>water <text:a>here</text:a><text:tab/>and<text:line-break/>there'
    assert text_of(p(body)) == "Deep  water here and\nthere"


def test_spaces_that_are_counted_are_bounded() -> None:
    assert len(text_of(p('a<text:s text:c="9999999"/>b'))) == MAX_SPACES + 2


def test_lists_are_numbered_or_not_by_their_style() -> None:
    inner = f"<text:list>{item(p('c'))}</text:list>"
    body = f'<text:list text:style-name="N">{item(p("a"))}{item(p("b"), inner)}{item(p("d"))}</text:list>'
    assert text_of(body) == "1. a\n2. b\n  - c\n3. d"
    assert text_of(f"<text:list>{item(p('a'))}</text:list>") == "- a"


def test_notes_and_text_boxes_follow() -> None:
    note = (
        "<text:note><text:note-citation>1</text:note-citation><text:note-body>"
        + p("A note.")
        + "</text:note-body></text:note>"
    )
    box = f"<draw:frame><draw:text-box>{p('In the box.')}</draw:text-box></draw:frame>"
    assert text_of(p(f"Deep{note}{box} water.")) == "Deep[^1] water.\n\nIn the box.\n\n[^1]: A note."


@pytest.mark.parametrize(
    "gone",
    [
        "<text:tracked-changes>" + p("gone") + "</text:tracked-changes>",
        "<text:table-of-content><text:index-body>" + p("gone") + "</text:index-body></text:table-of-content>",
        p("gone", "Gone"),
        p('<text:span text:style-name="Gone">gone</text:span>'),
        p("<office:annotation><text:p>gone</text:p></office:annotation>"),
        p("<text:hidden-text>gone</text:hidden-text><text:page-number>7</text:page-number>"),
        p("<text:ruby><text:ruby-text>gone</text:ruby-text></text:ruby>"),
        '<text:section text:display="none">' + p("gone") + "</text:section>",
    ],
)
def test_what_readers_do_not_see_is_left_out(gone: str) -> None:
    assert text_of(gone + p("Kept.")) == "Kept."


def cell(text: str, attributes: str = "") -> str:
    return f"<table:table-cell {attributes}>{p(text) if text else ''}</table:table-cell>"


def test_tables_have_rows_and_columns() -> None:
    head = f"<table:table-header-rows><table:table-row>{cell('Pier')}{cell('Depth')}</table:table-row></table:table-header-rows>"
    row = f"<table:table-row>{cell('East')}<table:covered-table-cell/></table:table-row>"
    assert text_of(f"<table:table>{head}{row}</table:table>") == "| Pier | Depth |\n| --- | --- |\n| East |  |"
    assert text_of(f"<table:table><table:table-row>{cell('Alone.')}</table:table-row></table:table>") == "Alone."


def test_a_spreadsheet_is_its_sheets() -> None:
    date = cell("26.11.26", 'office:value-type="date" office:date-value="2026-11-26T00:00:00"')
    many = 'table:number-columns-repeated="16384"'
    empty = f'<table:table-row table:number-rows-repeated="1048576">{cell("", many)}</table:table-row>'
    rows = f"<table:table-row>{cell('Day')}{date}{cell('', many)}</table:table-row>{empty}"
    hidden = f'<table:table-row table:visibility="collapse">{cell("gone")}</table:table-row>'
    shown = f'<table:table table:name="Days">{rows}{hidden}</table:table>'
    gone = f'<table:table table:name="x" table:style-name="GoneTable"><table:table-row>{cell("gone")}</table:table-row></table:table>'
    assert text_of(shown + gone, "spreadsheet") == "## Days\n\n| Day | 2026-11-26 |\n| --- | --- |"


def test_repeated_cells_are_bounded() -> None:
    columns = cell("a", 'table:number-columns-repeated="16384"')
    row = f'<table:table-row table:number-rows-repeated="1048576">{columns}</table:table-row>'
    assert len(text_of(f'<table:table table:name="a">{row * 50}</table:table>', "spreadsheet")) < 5_000_000


def frame(text: str, kind: str = "") -> str:
    return f'<draw:frame presentation:class="{kind}"><draw:text-box>{p(text)}</draw:text-box></draw:frame>'


def test_a_presentation_is_its_slides() -> None:
    notes = f"<presentation:notes>{frame('Speak up.', 'notes')}{frame('7', 'page-number')}</presentation:notes>"
    drawn = f"<draw:g><draw:custom-shape>{p('Drawn.')}</draw:custom-shape></draw:g>"
    first = f"<draw:page>{frame('Deep water.')}{drawn}{frame('Harbours', 'title')}{frame('gone', 'footer')}{notes}</draw:page>"
    hidden = f'<draw:page draw:style-name="GoneSlide">{frame("gone")}</draw:page>'
    text = "## Harbours\n\nDeep water.\n\nDrawn.\n\nNotes: Speak up."
    assert text_of(first + hidden, "presentation") == text


def test_an_encrypted_document_says_so() -> None:
    entry = "<manifest:file-entry><manifest:encryption-data/></manifest:file-entry>"
    with pytest.raises(NoText) as refusal:
        office_text(odf_of("text", p("Deep."), manifest=entry))
    assert refusal.value.reason == "encrypted"


@pytest.mark.parametrize(
    "name",
    ["rect", "ellipse", "circle", "line", "connector", "path", "polygon", "polyline", "regular-polygon", "measure"],
)
def test_text_in_a_drawn_shape_is_kept(name: str) -> None:
    drawn = f"<draw:{name}><text:p>Inside.</text:p></draw:{name}>"
    assert office_text(odf_of("text", f"<text:p>Before.</text:p>{drawn}")).text == "Before.\n\nInside."
    assert office_text(odf_of("presentation", f"<draw:page>{drawn}</draw:page>")).text == "Inside."


def test_hidden_columns_of_a_sheet_are_left_out() -> None:
    columns = (
        '<table:table-column/><table:table-column-group><table:table-column table:visibility="collapse" '
        'table:number-columns-repeated="2"/></table:table-column-group><table:table-column/>'
    )
    row = f"<table:table-row>{cell('Pier')}{cell('gone', TWICE)}{cell('Depth')}</table:table-row>"
    sheet = f'<table:table table:name="Piers">{columns}{row}</table:table>'
    assert text_of(sheet, "spreadsheet") == "## Piers\n\n| Pier | Depth |\n| --- | --- |"


def test_text_boxes_of_a_sheet_follow_its_table() -> None:
    row = f"<table:table-row>{cell('Pier')}{cell('Depth')}</table:table-row>"
    sheet = f'<table:table table:name="Piers"><table:shapes>{frame("Beware.")}</table:shapes>{row}</table:table>'
    assert text_of(sheet, "spreadsheet") == "## Piers\n\n| Pier | Depth |\n| --- | --- |\n\nBeware."


def test_a_date_that_is_only_written_is_kept() -> None:
    rows = f"<table:table-row>{cell('5 May', DATE)}{cell('ebb')}</table:table-row>"
    assert text_of(f"<table:table>{rows}</table:table>") == "| 5 May | ebb |\n| --- | --- |"


@pytest.mark.parametrize(
    ("held", "written"),
    [("<math:mi>E</math:mi><math:mo>=</math:mo>", "E="), ("<math:annotation>E = m c^2</math:annotation>", "E = m c^2")],
)
def test_a_formula_stands_where_it_is_shown(held: str, written: str) -> None:
    formula = f"<math:math {ODF_NAMESPACES}>{held}</math:math>"
    beside = '<draw:frame><draw:object xlink:href="./Object 1"/></draw:frame>'
    made = odf_of("text", p(f"It is {beside} here."), parts={"Object 1/content.xml": formula})
    assert office_text(made).text == f"It is {written} here."
    assert text_of(p(f"It is <draw:frame><draw:object>{formula}</draw:object></draw:frame>.")) == f"It is {written}."
