"""Names of what lies inside a container."""

from pathlib import Path

import pytest

from privllm.collect.source_file import MAX_KEY, SourceFile, clean_key


@pytest.mark.parametrize(
    ("key", "cleaned"),
    [
        ("a.txt", "a.txt"),
        ("/a//b/./../c.txt", "a/b/c.txt"),
        ("a\\b.txt", "a/b.txt"),
        ("bad\udcff.txt", "bad/udcff.txt"),
    ],
)
def test_a_key_leads_nowhere(key: str, cleaned: str) -> None:
    assert clean_key(key) == cleaned


def test_a_key_of_any_length_is_one_name() -> None:
    keys = [clean_key(key) for key in ("", "..", "a" * 1000, "a" * 1001)]
    assert len(set(keys)) == 4
    assert all(0 < len(key) <= MAX_KEY for key in keys)


def test_parts_of_parts_are_separated_by_slashes(tmp_path: Path) -> None:
    file = SourceFile.at(tmp_path / "inbox.mbox", tmp_path)
    mail = file.inside("<1@a>", b"mail", "1.eml")
    assert (mail.source, mail.name, mail.size, mail.read()) == ("inbox.mbox#<1@a>", "1.eml", 4, b"mail")
    assert mail.inside("report.pdf", b"").source == "inbox.mbox#<1@a>/report.pdf"
