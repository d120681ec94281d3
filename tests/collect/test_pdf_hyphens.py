"""Hyphens at the ends of lines."""

import time

import pytest

from privllm.collect.pdf_hyphens import HYPHEN, with_hyphens
from privllm.collect.pdf_text import pdf_text
from tests.pdf_files import column, pdf_of


def test_a_word_that_has_a_hyphen_elsewhere_keeps_it_at_the_end_of_a_line() -> None:
    cut = column(["The har-", "bour is well-", "known, and the ferry-", "man too."])
    written = column(["It is a well-known harbour, not a har-bour: ask the ferry-man,", "our ferryman."], top=600)
    text = pdf_text(pdf_of([*cut, *written])).text
    assert text.startswith("The harbour is well-known, and the ferryman too.")


@pytest.mark.parametrize(
    ("cut", "elsewhere", "whole"),
    [
        ("well|known", "a well-known one", "well-known"),
        ("Well|known", "a well-known one", "Well-known"),
        ("har|bour", "", "harbour"),
        ("har|bour", "a har-bour, a harbour", "harbour"),
        ("mail-trans|port-agent", "mail-transport-agent", "mail-transport-agent"),
        ("mail|transport-agent", "mail-transport-agent", "mail-transport-agent"),
        ("end|", "", "end"),
        ("non|US", "", "non-US"),
        ("2019|2020", "", "2019-2020"),
        ("Mc|Donald", "at McDonald", "McDonald"),
        ("INTRO|DUCTION", "", "INTRODUCTION"),
    ],
)
def test_a_cut_word_is_written_as_elsewhere(cut: str, elsewhere: str, whole: str) -> None:
    assert with_hyphens(f"{cut.replace('|', HYPHEN)} {elsewhere}") == f"{whole} {elsewhere}"


@pytest.mark.parametrize(
    ("cut", "elsewhere", "whole"),
    [
        ("Well|known", "as well as it is known", "Well-known"),
        ("well|known", "as well as it is known, wellknown", "wellknown"),
        ("non|root", "the root, non-users", "non-root"),
        ("admin|istrator", "the admin", "administrator"),
        ("in|put", "put it in", "input"),
        ("Hafen|meister", "der Meister im Hafen", "Hafenmeister"),
        ("hamn|chefens", "en hamn, chefens; fartygens klockor, fartygensklockor", "hamnchefens"),
        ("hamn|chefens", "en hamn, chefens; fartygens klockor, fartygens-klockor", "hamn-chefens"),
        ("check|82", "a check of 82", "check82"),
    ],
)
def test_a_word_cut_between_two_words_of_the_document_keeps_its_hyphen(cut: str, elsewhere: str, whole: str) -> None:
    assert with_hyphens(f"{cut.replace('|', HYPHEN)} {elsewhere}") == f"{whole} {elsewhere}"


def test_the_halves_of_other_cut_words_are_no_words_of_the_document() -> None:
    text = f"har{HYPHEN}bour ferry{HYPHEN}har bour{HYPHEN}ferry"
    assert with_hyphens(text) == "harbour ferryhar bourferry"


def test_a_word_without_an_end_takes_no_longer_than_it_is_long() -> None:
    begun = time.process_time()
    with_hyphens(1_000_000 * "a" + HYPHEN + 100_000 * f"b{HYPHEN}" + 100_000 * "c-")
    with_hyphens(f"well{HYPHEN}known, well known " + 1_000_000 * "a")
    assert time.process_time() - begun < 5


def test_numbers_and_names_keep_their_hyphen_at_the_end_of_a_line() -> None:
    cut = column(["A hyphen-", "ated word of 2019-", "2020 on the non-", "US side."])
    assert pdf_text(pdf_of(cut)).text == "A hyphenated word of 2019-2020 on the non-US side."
