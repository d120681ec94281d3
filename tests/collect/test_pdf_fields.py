"""What was filled in on the pages of a PDF."""

import pytest

from privllm.collect.parsed import NoText
from privllm.collect.pdf_text import pdf_text
from tests.pdf_files import column, joined, pdf_of, scanned

LABELS = column(["Name:", "Island:", "Ferries:", "With a car", "On foot"])  # from a height of 700, 12 points apart


def field(kind: str, name: str, number: int, more: str, left: int = 150, width: int = 200) -> str:
    """Return a field beside a label."""
    bottom = 698 - 12 * number
    rectangle = f"/Rect [{left} {bottom} {left + width} {bottom + 10}]"
    return f"/Subtype /Widget /FT /{kind} /T ({name}) {rectangle} {more}"


def test_values_of_a_form_stand_beside_their_labels() -> None:
    fields = [
        field("Ch", "ferries", 2, "/V [(a) (c)] /Opt [[(a) (Aurora)] [(b) (Bella)] [(c) (Cora)]] /Ff 2097152"),
        field("Tx", "name", 0, "/V (Ada Lovelace)"),
        field("Ch", "island", 1, "/V (s) /Opt [[(n) (North)] [(s) (South)]] /Ff 131072"),
    ]
    text = pdf_text(pdf_of(LABELS[:3], annotations=fields)).text
    assert text == "Name: Ada Lovelace Island: South Ferries: Aurora, Cora"


def test_a_ticked_box_stands_before_its_label_and_an_empty_one_is_not_said() -> None:
    boxes = [
        field("Btn", "car", 3, "/V /Yes /AS /Yes /AP << /N << /Yes null /Off null >> >>", left=35, width=10),
        field("Btn", "foot", 4, "/V /Off /AS /Off /AP << /N << /Yes null /Off null >> >>", left=35, width=10),
    ]
    assert pdf_text(pdf_of(LABELS[3:], annotations=boxes)).text == "[x] With a car On foot"


def test_values_without_labels_stand_where_they_are() -> None:
    page = [*column(["Remarks"]), *column(["Signed in the harbour."], top=600)]
    remarks = field("Tx", "remarks", 4, "/V (The pier is\rbroken.) /Ff 4096", left=50)
    assert (
        pdf_text(pdf_of(page, annotations=[remarks])).text == "Remarks\n\nThe pier is broken.\n\nSigned in the harbour."
    )
    assert pdf_text(pdf_of([], annotations=[remarks])).text == "The pier is broken."


def test_text_typed_onto_a_page_is_read_and_a_comment_is_not() -> None:
    typed = "/Subtype /FreeText /Contents (Paid in full) /Rect [150 698 300 708]"
    comment = "/Subtype /Text /Contents (Is that so?) /Rect [150 650 300 660]"
    assert pdf_text(pdf_of(LABELS[:1], annotations=[typed, comment])).text == "Name: Paid in full"


@pytest.mark.parametrize("more", ["/Ff 8192", "/F 2", "/F 32"])
def test_passwords_and_hidden_fields_are_left_out(more: str) -> None:
    secret = field("Tx", "secret", 0, f"/V (xyzzy) {more}")
    assert pdf_text(pdf_of(LABELS[:1], annotations=[secret])).text == "Name:"
    with pytest.raises(NoText):
        pdf_text(pdf_of([], annotations=[secret]))


def test_a_scan_with_a_value_is_still_a_scan() -> None:
    data = joined(scanned(pdf_of(LABELS), dpi=20), pdf_of(LABELS[:1]))
    assert list(pdf_text(data).scans) == [1]


def test_a_value_on_each_page_is_no_running_header() -> None:
    total = field("Tx", "total", 0, "/V (4711)")
    pages = [column(["Sum:"]), column(["Sum:"]), column(["Sum:"])]
    assert pdf_text(pdf_of(*pages, annotations=[total])).text.count("4711") == 3
