import pytest

from privllm.clean.clean_text import clean_text

REPORTED = [  # of public bug reports of other tools, and of a first day with this one
    ("write to john.doe (at) corp (dot) org", "write to <EMAIL>"),
    ("IBAN: DE89 3704 0044 0532 0130 00, Steuernr. 12/345/67890", "IBAN: <IBAN>, Steuernr. 12/345/67890"),
    ("see /img/plans/AB-10-01-07-17.jpg", "see /img/plans/AB-10-01-07-17.jpg"),
    ("mailto:john.doe%40corp.org?subject=x", "mailto:<EMAIL>?subject=x"),
    ("the password is MD5-encrypted.", "the password is MD5-encrypted."),
    ("Región de MÁLAGA, luego MÃ¡laga otra vez.", "Región de MÁLAGA, luego Málaga otra vez."),
    ("S.Ã\xa0 r.l.", "S.à r.l."),
    (
        "Tel. 030/1234567, mobil 0171 2345678, Fax (089) 12 34 56-78, +49-221-9876543",
        "Tel. <PHONE>, mobil <PHONE>, Fax <PHONE>, <PHONE>",
    ),
    ("at (212).456.7890.", "at <PHONE>."),
    ("Purchasing Phone (914)555-0186 04/21/2020 12:37:30", "Purchasing Phone <PHONE> 04/21/2020 12:37:30"),
    ("my phone number is +351912345678", "my phone number is <PHONE>"),
    (
        "24.2.2.4. Nondeterministic Collations\nsee Section 43.7.2.1 and 9.1.2.3",
        "24.2.2.4. Nondeterministic Collations\nsee Section 43.7.2.1 and 9.1.2.3",
    ),
]


@pytest.mark.parametrize(("before", "after"), REPORTED)
def test_what_others_reported(before: str, after: str) -> None:
    assert clean_text(before)[0] == after


def test_an_address_hidden_by_an_invisible_character_does_not_pass() -> None:
    assert clean_text("bob\u200b@corp.example  \r\n") == ("<EMAIL>", {"EMAIL": 1})
    assert clean_text("\x00 plain") == (" plain", {})
