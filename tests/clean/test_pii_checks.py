"""The limits of what is personal data, at their edges. Lengths and countries are written out here, not taken from the code."""

import pytest

from privllm.clean.pii import redact
from privllm.clean.pii_checks import iban_end
from privllm.validate.personal_data_left import leftovers

# The SWIFT IBAN registry (ISO 13616): country and length.
REGISTRY = """
AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27
GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22
MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28
TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30""".split()
# Those that the second look, which is written apart, knows.
SECOND_LOOK = """
AD AE AT BE BG CH CY CZ DE DK EE ES FI FR GB GR HR HU IE IS IT LI LT LU LV MC MT NL NO PL PT RO SA SE SI SK SM TR""".split()


def iban(country: str, length: int) -> str:
    """An IBAN of that length whose check digits are right."""
    account = ("7" * 40)[: length - 4]
    number = int("".join(str(int(sign, 36)) for sign in f"{account}{country}00"))
    return f"{country}{98 - number % 97:02d}{account}"


@pytest.mark.parametrize("entry", REGISTRY)
def test_an_iban_has_its_countrys_length(entry: str) -> None:
    country, length = entry[:2], int(entry[2:])
    right = iban(country, length)
    assert len(right) == length
    assert iban_end(right) == length
    assert redact(f"to {right}, please") == ("to <IBAN>, please", {"IBAN": 1})
    assert redact(f"to {right.lower()} now")[1] == {"IBAN": 1}
    for wrong in (iban(country, length - 1), iban(country, length + 1)):
        assert iban_end(wrong) == 0, f"{country} with {len(wrong)} characters"


def test_groups_and_words_behind_an_iban_are_no_part_of_it() -> None:
    assert iban_end("GB82 WEST 1234 5698 7654 32") == 27
    assert iban_end("GB82 WEST 1234 5698 7654 32 AND MORE") == 27
    assert iban_end("GB82 WEST 1234 5698 7654 329") == 0
    assert iban_end("GB82 WEST 1234 5698 7654 33") == 0  # another check digit
    assert iban_end("ZZ82 WEST 1234 5698 7654 32") == 0
    assert iban_end("") == 0


@pytest.mark.parametrize("country", SECOND_LOOK)
def test_the_second_look_knows_the_lengths_too(country: str) -> None:
    (length,) = (int(entry[2:]) for entry in REGISTRY if entry[:2] == country)
    assert leftovers(f"to {iban(country, length)}, please")["ibans"] == 1
    assert leftovers(f"to {iban(country, length - 1)}, please")["ibans"] == 0


# Digits in all, and a number of that many in each form: international, national in groups, with brackets.
PHONES = [
    (7, ["+47 12 345", "030 12 34", "(030) 12 34"], False),
    (8, ["+47 12 34 56", "030 12 345", "(030) 12 345"], True),
    (9, ["+298 12 34 56", "030 123 456", "(030) 123 456", "030-123456"], True),
    (10, ["+45 12 34 56 78", "030 1234 567", "(030) 1234 567", "030-1234567"], True),
    (15, ["+49 30 1234 5678 901", "0049 30 1234 56789"], True),
    (16, ["+49 30 1234 5678 9012"], False),
]


@pytest.mark.parametrize(("digits", "numbers", "phone"), PHONES)
def test_a_phone_number_has_8_to_15_digits(digits: int, numbers: list[str], phone: bool) -> None:
    for number in numbers:
        assert sum(map(str.isdigit, number)) == digits, number
        found = redact(f"reach us at {number} today")
        assert found == (
            ("reach us at <PHONE> today", {"PHONE": 1}) if phone else (f"reach us at {number} today", {})
        ), number


@pytest.mark.parametrize(("number", "phone"), [("030 33 333", False), ("+33 33 33 33", False), ("030 33 334", True)])
def test_a_phone_number_has_more_than_two_different_digits(number: str, phone: bool) -> None:
    assert redact(f"see {number} there")[1] == ({"PHONE": 1} if phone else {})


IN_STEP = [("01 03 05 07", False), ("01 03 05 08", True), ("00 01 02 03 04", False)]
IN_A_ROW = [("1 030 12 345", False), ("030 12 345 6", False), ("a 030 12 345 b", True)]


@pytest.mark.parametrize(("numbers", "phone"), [*IN_STEP, *IN_A_ROW])
def test_numbers_in_step_or_in_a_row_are_a_table(numbers: str, phone: bool) -> None:
    assert bool(redact(f"x {numbers} y")[1]) is phone
