"""Phone numbers by form, by the words before them, and by country; and integers, dates and tables that are none."""

from collections import Counter

import pytest

from privllm.clean.phones import is_in_a_row, redact_phones
from privllm.clean.pii import PiiConfig, redact
from privllm.core.errors import UserError
from privllm.validate.personal_data_left import leftovers

BY_FORM = [
    "+351912345678",
    "+49/30/1234567",
    "(+225) 0771 1719",
    "+49 (0) 30 / 123 456-78",
    "(11) 91234-5678",
    "089/12 34 56-0",
    "0049 171 2345678",
    "(914)555-0186",
    "(212).456.7890",
    "0171 2345678",
    "030/1234567",
    "030/123 45 67",
    "06-12345678",
    "01.42.68.53.00",
    "(089) 12 34 56-78",
    "07911 123456",
]


@pytest.mark.parametrize("number", BY_FORM)
def test_a_form_of_its_own(number: str) -> None:
    assert redact(f"see {number} there") == ("see <PHONE> there", {"PHONE": 1})
    assert redact(f"see {number} 04/21/2020 12:37:30") == ("see <PHONE> 04/21/2020 12:37:30", {"PHONE": 1})


BEHIND_WORDS = [
    "Tel.: {}",
    "mobil {}",
    "Telefon-Nr.: {}",
    "Rufnummer {}",
    "Phone (home): {}",
    "Fax {}",
    "tél. {}",
    "teléfono: {}",
    "tel={}",
    "My mobile number is {}",
    "you can reach me at {}",
    "They are not answering at {}",
    "a message on my registered {}",
]


@pytest.mark.parametrize("words", BEHIND_WORDS)
@pytest.mark.parametrize("number", ["516 466 638", "71-33-52-22", "668 5702"])
def test_behind_words_any_groups_are_a_number(words: str, number: str) -> None:
    assert redact(words.format(number) + ".") == (words.format("<PHONE>") + ".", {"PHONE": 1})
    assert redact(f"it takes {number} of them") == (f"it takes {number} of them", {})


def test_a_dot_behind_the_area_is_no_end() -> None:
    assert redact("Tlf: 0312. 439 2850/ Fax: 0312. 439 9347")[0] == "Tlf: <PHONE>/ Fax: <PHONE>"


NO_NUMBERS = [
    "integers up to +2147483647 and -2147483648",
    "+4294967295",
    "+1000000000",
    "called with 2018-05-08 12:30:15",
    "text 01.02.2023 and message of 12/31/2020",
    "answers in 3.14159265 seconds",
    "| 0000: 02 23 44 30 13 40 ac 34 df 3d bf 9a 19 49 39 15 |",
    "| 44 30 13 04 ac",
    "12/345/67890",
    "Newark, NJ 07102-2992",
    "call f(1000, 2000, 3000)",
    "/img/plans/AB-10-01-07-17.jpg",
    "ISBN 978-0-306-40615-7",
    "dialling 100 200 300 of",
]


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_integers_dates_and_dumps_are_none(text: str) -> None:
    assert redact(text) == (text, {})
    assert leftovers(text)["phones"] == 0


def test_both_looks_know_the_same_country_codes() -> None:
    """What the second look finds stops the build, so the first must have taken it; the two lists are written apart."""
    for code in range(20, 1000):
        text = f"+{code}{'23456789'}"
        counts: Counter[str] = Counter()
        assert (redact_phones(text, counts) == "<PHONE>") == (leftovers(text)["phones"] == 1), text


def test_two_international_numbers_in_a_row() -> None:
    assert redact("+49 171 2345678 +49 171 2345679") == ("<PHONE> <PHONE>", {"PHONE": 2})


@pytest.mark.parametrize(
    ("country", "number"),
    [("DK", "71 33 52 22"), ("PL", "516 466 638"), ("PT", "912 345 678"), ("DE", "01711234567")],
)
def test_a_country_s_plan_finds_its_numbers_anywhere(country: str, number: str) -> None:
    text = f"it is {number} since May"
    assert redact(text) == (text, {})
    assert redact(text, countries=[country]) == ("it is <PHONE> since May", {"PHONE": 1})
    for other in (f"it is x{number}", f"it is {number},5", f"7 {number} 8", f"{number}-{number}"):
        assert redact(other, countries=[country]) == (other, {})


def test_a_plan_asks_for_the_zero_that_one_dials() -> None:
    assert redact("it is 171 2345678 now", countries=["DE"])[1] == {}


def test_a_number_in_a_row() -> None:
    import re

    match = re.search("b+", "1 bbb 2")
    assert match
    assert is_in_a_row(match)
    match = re.search("b+", "a bbb 12:30")
    assert match
    assert not is_in_a_row(match)


@pytest.mark.parametrize(
    ("code", "message"), [("false", "write 'NO'"), ("de", "did you mean `DE`"), ("Germany", "no country with two")]
)
def test_a_wrong_country_is_explained(code: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        PiiConfig(countries=[code])
