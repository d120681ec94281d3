"""Left-over personal data: what must be found, what must not, and that the fast pass over a column finds it all."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.validate.personal_data_left import KINDS, is_card, is_iban, leftovers, leftovers_of_column

# Test numbers that card schemes and the IBAN registry publish as examples.
CARDS = [
    "4111 1111 1111 1111",
    "5555555555554444",
    "3782-822463-10005",
    "6011000990139424",
    "30569309025904",
    "4222222222222",
]
IBANS = [
    "GB82 WEST 1234 5698 7654 32",
    "DE89370400440532013000",
    "FR14 2004 1010 0505 0001 3M02 606",
    "NL91ABNA0417164300",
    "NO9386011117947",
]
FOUND = [
    *(("cards", f"paid with {card}, thanks") for card in CARDS),
    *(("ibans", f"to {iban} by Friday") for iban in IBANS),
    ("emails", "write to jo.blogs+x@mail.example.co.uk."),
    ("emails", "<müller@firma.de>"),
    ("private_keys", "-----BEGIN RSA PRIVATE KEY-----\nMIIE"),
    ("private_keys", "-----BEGIN PGP PRIVATE KEY BLOCK-----"),
    ("phones", "call +49 (30) 1234-5678 now"),
    ("phones", "tel:+442079460958"),
]
CLEAN = [
    "",
    "[email] wrote on 2024-05-06 12:30:45 from <PHONE_1>",
    "@decorator and user@localhost, v1.2@3.4",
    "4111 1111 1111 1112 fails its check digit",
    "9111 1111 1111 1116 has no issuer",
    "0.4111111111111111 is a fraction",
    "14111111111111111111 is one long number",
    "GB82 WEST 1234 5698 7654 33 fails its check digits",
    "XX82 WEST 1234 5698 7654 32 is in no country",
    "-----BEGIN PUBLIC KEY-----",
    "1+2 and +12345 and C++11",
    "the order is 2024+49301234567890 long",
    # Linux kernel documentation, whose digits pass Luhn's check by chance.
    "0 1638400 verity 1 8:1 8:2 4096 4096 204800 1 sha256",
    "dmsetup message my_cache 0 invalidate_cblocks 2345 3456-4567 5678-6789",
    "255 1000 255 0 0 500 0 0 255 500 255 0 0 500 0 0",
    "the maximum is '+999999999-12-31T23:59:59.999999999-18:00'",
    "filename@2x.gif and filename@125pct.png are pictures",
    "-4225010072113/3063768069807341568*a^10 - 24841071989413/1595",
    'setInputMask("+99 99 99 99 99;_")',
    "mount -t ceph user@fsid.fs_name=/[subdir] mnt",
]


@pytest.mark.parametrize(("kind", "text"), FOUND)
def test_finds_what_cleaning_left(kind: str, text: str) -> None:
    assert leftovers(text) == {other: int(other == kind) for other in KINDS}


@pytest.mark.parametrize("text", CLEAN)
def test_lets_clean_text_pass(text: str) -> None:
    assert not any(leftovers(text).values())


@given(st.integers(min_value=0, max_value=10**15 - 1))
def test_one_check_digit_in_ten_is_right(number: int) -> None:
    cards = [f"{4}{number % 10**14:014d}{digit}" for digit in range(10)]
    assert sum(map(is_card, cards)) == 1


@given(st.integers(min_value=0, max_value=10**18 - 1))
def test_check_digits_of_an_iban_are_98_minus_the_remainder(account: int) -> None:
    check = 98 - int(f"{account:018d}131400") % 97  # D = 13, E = 14, "00" for the check digits: ISO 13616
    assert is_iban(f"DE{check:02d}{account:018d}")
    assert not is_iban(f"DE{check % 97 + 2:02d}{account:018d}")


PIECES = st.sampled_from([*(text for _, text in FOUND), *CLEAN, " ", "\n", "@", "+", "4", "-", "DE89", "é", "\u00a0"])


@given(st.lists(st.lists(PIECES, max_size=4).map("".join), max_size=5))
def test_a_column_is_searched_like_its_texts(texts: list[str]) -> None:
    found = leftovers_of_column(pa.array(texts, pa.string()))
    for row, text in enumerate(texts):
        assert {kind: found[kind][row].as_py() for kind in KINDS} == leftovers(text)


def test_long_runs_cost_linear_time() -> None:
    assert not any(leftovers("4" * 300_000).values())
    assert not any(leftovers("a@" * 100_000 + "b." * 100_000).values())
