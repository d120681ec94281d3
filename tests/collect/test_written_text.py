"""What the sender of a mail wrote: without quoted replies and signature."""

import time

import pytest

from privllm.collect.written_text import written_text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Yes.\n\n> Tea?\n> Now?\n", "Yes."),
        ("Yes.\n\nOn Thu, 26 Nov 2026, Ann wrote:\n\n> Tea?\n", "Yes."),
        ("Yes.\n\nOn Thursday, 26 November 2026, Ann of the long name\n<ann@example.org> wrote:\n> Tea?\n", "Yes."),
        ("> Tea?\nYes.\n> Now?\nNo.\n", "Yes.\n\nNo."),
        ("Yes.\n-- \nAnn\nExample Ltd.\n", "Yes."),
        ("Yes.\n\n-----Original Message-----\nFrom: Ann\n\nTea?\n", "Yes."),
        ("A list:\n\n- tea\n- cake\n", "A list:\n\n- tea\n- cake"),
        ("> only a quotation\n", "> only a quotation\n"),
        ("Signed.\n-----BEGIN PGP SIGNATURE-----\niQEV\n-----END PGP SIGNATURE-----\n", "Signed."),
    ],
)
def test_what_the_sender_wrote(text: str, written: str) -> None:
    assert written_text(text) == written


@pytest.mark.parametrize(
    "text",
    [
        "Try:\n\n>>> import os\n>>> os.getcwd()\n'/'",
        "Menu:\n\nab> run\nPS1> dir",
        "Hi,\n\n--\nSales figures\n10\n20\n\nThe second part after a dash line.",
        "Hi,\n--\nNone\nOne\nTwo\nThree\nFour\nFive",
        "FYI\n\n---------- Forwarded message ---------\nFrom: Ann\nDate: Thursday\nTo: Bob\nSubject: Tea\n\nThe report.",
        "FYI\n\nBegin forwarded message:\n\nFrom: Ann\nSubject: Tea\n\nThe report.",
        "Fill in:\n\nFrom: a place\nTo: another\n\nThanks.",
    ],
)
def test_what_is_no_quotation_is_kept(text: str) -> None:
    assert written_text(f"{text}\n") == text


@pytest.mark.parametrize(
    "original",
    [
        "From: Ann <a@example.org>\nSent: Thursday\nTo: Bob;\n Carl\nCc: Dan\nSubject: RE: Tea\n\nOld.",
        "________________________________\nFrom: Ann\nSent: Thursday\nTo: Bob\nSubject: Tea\n\nOld.",
        "Von: Ann\nGesendet: Donnerstag\nAn: Bob\nBetreff: Tee\n\nAlt.",
        "De : Ann\nEnvoy\u00e9 : jeudi\n\u00c0 : Bob\nObjet : Th\u00e9\n\nVieux.",
        "--\nAnn\nExample Ltd.",
        "--\nAnn\n\n_______________________________________________\nTea mailing list\ntea@example.org",
        "> One.\n>> Two.\n>>> Three.",
    ],
)
def test_quoted_mails_and_bare_signatures_are_left_out(original: str) -> None:
    assert written_text(f"Yes.\n\n{original}\n") == "Yes."


def test_a_subject_says_that_a_mail_is_passed_on() -> None:
    text = (
        "FYI\n-- \nBob\n\n-----Original Message-----\nFrom: Ann\nSent: Thursday\nTo: Bob\nSubject: Tea\n\nThe report."
    )
    assert written_text(text, "Re: Tea") == "FYI"
    assert written_text(text, "FW: Tea").startswith("FYI\n\n-----Original")
    assert written_text(text, "WG: Tee").endswith("The report.")


def test_a_signature_above_a_forward_ends_there() -> None:
    forward = "---------- Forwarded message ---------\nFrom: Ann\n\nThe report.\n\n> Its source.\n-- \nAnn"
    assert written_text(f"FYI\n\n> Tea?\n-- \nBob\n\n{forward}\n") == f"FYI\n\n{forward}"


def test_initials_quote_below_the_name_of_their_writer() -> None:
    assert written_text("Hello Ann,\n\nyou wrote:\n\nAB> Tea?\n\nYes.\n") == "Hello Ann,\n\nYes."


def test_signatures_without_an_end_take_little_time() -> None:
    began = time.process_time()
    assert written_text("Yes.\n" + "-----BEGIN PGP SIGNATURE-----\n" * 30_000).startswith("Yes.")
    assert time.process_time() - began < 5
