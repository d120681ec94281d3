"""What the sender of a mail wrote: without quoted replies and signature."""

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
