"""The parts of a mail: alternatives, attachments, and what its headers say."""

from pathlib import Path

import pytest

from privllm.collect.documents import CollectedDocument
from privllm.collect.mail_parts import header_text
from tests.collect.readers.test_archive import reasons_of, texts_of
from tests.collect.readers.test_mail import rows_of

HEAD = "Subject: Tea\n"
PLAIN = "Content-Type: text/plain\n\nPlain words."
HTML = "Content-Type: text/html\n\n<p>HTML words.</p>"
NOTES = "Content-Type: text/plain; name=notes.txt\nContent-Disposition: attachment; filename=notes.txt\n\nThe notes."
PHOTO = "Content-Type: image/png\nContent-ID: <photo>\n\nx"


def multipart(kind: str, *parts: str, boundary: str = "X") -> str:
    joined = "".join(f"--{boundary}\n{part}\n" for part in parts)
    return f"Content-Type: multipart/{kind}; boundary={boundary}\n\n{joined}--{boundary}--\n"


@pytest.mark.parametrize("kind", ["mixed", "related"])
def test_texts_that_follow_each_other_are_all_kept_in_order(tmp_path: Path, kind: str) -> None:
    footer = "Content-Type: text/plain\n\n____\nA list <of tea>\n\nlist@example.org"
    (row,) = rows_of(tmp_path, (HEAD + multipart(kind, PLAIN, HTML, footer)).encode())
    assert isinstance(row, CollectedDocument)
    assert row.media_type == "text/html"
    assert row.text == (
        "<h1>Tea</h1>\n<p>Plain words.</p>\n<p>HTML words.</p>\n"
        "<p>____<br>A list &lt;of tea&gt;</p>\n<p>list@example.org</p>"
    )


@pytest.mark.parametrize("kind", ["mixed", "related"])
def test_files_inside_an_alternative_that_is_not_shown_are_kept(tmp_path: Path, kind: str) -> None:
    second = multipart(kind, HTML, NOTES, PHOTO, HTML, boundary="Y")
    rows = rows_of(tmp_path, (HEAD + multipart("alternative", PLAIN, second)).encode())
    assert texts_of(rows) == {"a.eml": "Tea\n\nPlain words.", "a.eml#notes.txt": "The notes."}
    assert reasons_of(rows) == {"a.eml#part2.png": "unsupported"}


def test_of_alternatives_the_last_with_a_text_is_shown(tmp_path: Path) -> None:
    calendar = "Content-Type: text/calendar\n\nBEGIN:VCALENDAR"
    rows = rows_of(tmp_path, (HEAD + multipart("alternative", HTML, calendar)).encode())
    assert texts_of(rows) == {"a.eml": "<h1>Tea</h1>\n<p>HTML words.</p>"}
    assert not reasons_of(rows)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=?utf-8?q?T=C3=A9?= =?utf-8?b?IGFuZCBjYWtl?=", "Té and cake"),
        ("=?unknown?q?T=E9?=", "Té"),
        ("two\n lines", "two lines"),
        ("=?utf-8?b?!!!?=", ""),
    ],
)
def test_encoded_words_of_a_header(value: str, text: str) -> None:
    assert header_text(value) == text
