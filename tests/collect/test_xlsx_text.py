"""Text of workbooks: sheets as tables, values and dates, and what is left out."""

import io
import zipfile

import pytest

from privllm.collect.office_text import office_text
from privllm.collect.parsed import NoText
from tests.office_files import NAMESPACES, OOXML, ooxml, relationships, xlsx_of, zip_of

STRINGS = "<si><t>Pier</t></si><si><r><t>De</t></r><r><t>pth</t></r><rPh><t>reading</t></rPh></si>"
FORMATS = """<numFmts><numFmt numFmtId="164" formatCode="dd/mm/yyyy"/><numFmt numFmtId="165" formatCode="0.00 &quot;days&quot;"/>
<numFmt numFmtId="166" formatCode="[$-409]h:mm AM/PM"/>
<numFmt numFmtId="167" formatCode="[h]:mm:ss"/></numFmts>
<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/><xf numFmtId="165"/><xf numFmtId="166"/>
<xf numFmtId="22"/><xf numFmtId="167"/></cellXfs>"""


def cell(place: str, value: object, kind: str = "n", style: int = 0) -> str:
    return f'<c r="{place}" t="{kind}" s="{style}"><v>{value}</v></c>'


def sheet(*rows: str) -> str:
    lines = "".join(f'<row r="{number}">{row}</row>' for number, row in enumerate(rows, 1) if row)
    return f"<sheetData>{lines}</sheetData>"


def text_of(*sheets: str, **more: str) -> str:
    return office_text(xlsx_of(*sheets, **more)).text  # type: ignore[arg-type]


def test_a_sheet_is_a_table_under_its_name() -> None:
    formula = '<c r="C2"><f>B2*2</f><v>24.5</v></c>'
    rows = cell("A1", 0, "s") + cell("C1", 1, "s"), '<c r="A2" t="inlineStr"><is><t>East|West</t></is></c>' + formula
    table = "| Pier | Depth |\n| --- | --- |\n| East\\|West | 24.5 |"
    assert text_of(sheet(*rows), sheet(), strings=STRINGS) == f"## Sheet1\n\n{table}"


def test_an_empty_row_ends_a_table_and_one_column_is_text() -> None:
    rows = cell("A1", "On piers", "str"), "", cell("A3", 1) + cell("B3", 2)
    assert text_of(sheet(*rows)) == "## Sheet1\n\nOn piers\n\n| 1 | 2 |\n| --- | --- |"


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        (cell("A1", "0.30000000000000004"), "0.3"),
        (cell("A1", "1234567890123456"), "1234567890123456"),
        (cell("A1", "-12"), "-12"),
        (cell("A1", 1, "b"), "TRUE"),
        (cell("A1", "2026-11-26", "d"), "2026-11-26"),
        (cell("A1", 45292, style=1), "2024-01-01"),
        (cell("A1", 45292.5, style=2), "2024-01-01 12:00"),
        (cell("A1", 45292.25, style=5), "2024-01-01 06:00"),
        (cell("A1", 1.25, style=6), "30:00"),
        (cell("A1", "line_x000D_ more _x00e9_ _x005F_x0041_ _xD800_", "str"), "line more \u00e9 _x0041_ "),
        (cell("A1", 45292, style=3), "45292"),  # "days" is no date
        (cell("A1", 0.75, style=4), "18:00"),
        (cell("A1", 1, style=1), "1900-01-01"),
        (cell("A1", 61, style=1), "1900-03-01"),
        (cell("A1", 1e300, style=1), "1e300"),
        (cell("A1", "nan", style=1), "nan"),
    ],
)
def test_values_are_as_people_read_them(xml: str, text: str) -> None:
    assert text_of(sheet(xml), styles=FORMATS) == f"## Sheet1\n\n{text.replace('1e300', str(1e300))}"


def test_days_are_counted_from_1904_where_the_workbook_says_so() -> None:
    text = text_of(sheet(cell("A1", 43830, style=1)), styles=FORMATS, own='<workbookPr date1904="1"/>')
    assert text.endswith("2024-01-01")


def test_what_is_hidden_and_errors_are_left_out() -> None:
    columns = '<cols><col min="2" max="2" hidden="1"/></cols>'
    row = cell("A1", "kept", "str") + cell("B1", "gone", "str") + cell("C1", "#N/A", "e")
    hidden = f'<row r="2" hidden="1">{cell("A2", "gone", "str")}</row>'
    shown = f"{columns}<sheetData><row>{row}</row>{hidden}</sheetData>"
    gone = sheet(cell("A1", "gone", "str"))
    made = xlsx_of(shown, gone, gone, states=("visible", "hidden", "veryHidden"))
    assert office_text(made).text == "## Sheet1\n\nkept"


def test_a_sparse_sheet_stays_small() -> None:
    rows = []
    for number in range(1, 2001):
        letters = "".join(chr(65 + number // 26**power % 26) for power in (2, 1, 0))
        rows.append(cell(f"{letters}{number}", number))
    assert len(text_of(sheet(*rows))) < 50_000


def test_many_hidden_columns_cost_little() -> None:
    columns = "<cols>" + '<col min="1" max="99999999" hidden="1"/>' * 1000 + "</cols>"
    cells = sheet("".join(cell(f"B{number}", number) for number in range(1, 1000)))
    assert text_of(columns + cells) == ""


def test_a_binary_workbook_says_what_to_do() -> None:
    with pytest.raises(NoText) as refusal:
        office_text(ooxml("xl/workbook.bin", {"xl/workbook.bin": "x"}))
    assert (refusal.value.reason, refusal.value.detail) == ("unsupported", "a binary workbook: save it as .xlsx")


@pytest.mark.parametrize("lost", ["xl/sharedStrings.xml", "xl/worksheets/Sheet1.xml"])
def test_a_part_with_texts_that_is_missing_is_said(lost: str) -> None:
    with zipfile.ZipFile(io.BytesIO(xlsx_of(sheet(cell("A1", 0, "s")), strings=STRINGS))) as archive:
        parts: dict[str, str | bytes] = {name: archive.read(name) for name in archive.namelist() if name != lost}
    with pytest.raises(NoText) as refusal:
        office_text(zip_of(parts))
    assert refusal.value.reason == "damaged"


def test_text_boxes_follow_the_tables_of_their_sheet() -> None:
    made = xlsx_of(sheet(cell("A1", 7)))
    box = "<xdr:sp><xdr:txBody><a:p><a:r><a:t>On piers</a:t></a:r></a:p></xdr:txBody></xdr:sp>"
    space = f'xmlns:xdr="{OOXML}drawingml/2006/spreadsheetDrawing" {NAMESPACES}'
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        parts: dict[str, str | bytes] = {name: archive.read(name) for name in archive.namelist()}
    parts["xl/worksheets/_rels/Sheet1.xml.rels"] = relationships({"a": ("drawing", "../drawings/d.xml")})
    parts["xl/drawings/d.xml"] = f"<xdr:wsDr {space}>{box}</xdr:wsDr>"
    assert office_text(zip_of(parts)).text == "## Sheet1\n\n7\n\nOn piers"
