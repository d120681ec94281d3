"""The parts of a mail: alternatives, attachments, and what its headers say."""

import base64
import time
from pathlib import Path

import pytest

from privllm.collect.documents import CollectedDocument
from privllm.collect.mail_parts import header_text
from privllm.collect.read_file import read_file
from privllm.core.seed import digest
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


@pytest.mark.parametrize("charset", ["idna''%ff", "a%00b''x"])
def test_a_parameter_of_no_encoding_loses_no_mail(tmp_path: Path, charset: str) -> None:
    notes = f"Content-Type: text/plain\nContent-Disposition: attachment; filename*={charset}\n\nThe notes."
    rows = rows_of(tmp_path, (HEAD + multipart("mixed", PLAIN, notes)).encode())
    assert list(texts_of(rows).values()) == ["Tea\n\nPlain words.", "The notes."]
    in_charset = f"{HEAD}Content-Type: text/plain; charset*={charset}\n\nGrüße aus München.\n"
    assert texts_of(rows_of(tmp_path, in_charset.encode())) == {"a.eml": "Tea\n\nGrüße aus München."}
    parted = multipart("mixed", PLAIN).replace("boundary=X", f"boundary*={charset}")
    assert texts_of(rows_of(tmp_path, (HEAD + parted).encode())) == {"a.eml": "Tea\n\nPlain words."}


@pytest.mark.parametrize("charset", ["", "; charset=us-ascii"])
def test_utf_8_that_is_declared_to_be_ascii_is_read(tmp_path: Path, charset: str) -> None:
    data = f"{HEAD}Content-Type: text/plain{charset}\n\nGrüße.\n"
    assert texts_of(rows_of(tmp_path, data.encode())) == {"a.eml": "Tea\n\nGrüße."}


@pytest.mark.parametrize("before", ["\ufeff", "\n\n", "\ufeff\r\n"])
def test_what_stands_before_the_headers_loses_no_mail(tmp_path: Path, before: str) -> None:
    assert texts_of(rows_of(tmp_path, (before + HEAD + PLAIN).encode())) == {"a.eml": "Tea\n\nPlain words."}


def test_a_message_inside_in_base64_is_read(tmp_path: Path) -> None:
    inside = base64.encodebytes((HEAD + multipart("mixed", PLAIN, NOTES)).encode()).decode()
    part = f"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n{inside}"
    rows = rows_of(tmp_path, (HEAD + multipart("mixed", PLAIN, part, boundary="Y")).encode())
    assert texts_of(rows) == {
        "a.eml": "Tea\n\nPlain words.",
        "a.eml#message.eml": "Tea\n\nPlain words.",
        "a.eml#message.eml/notes.txt": "The notes.",
    }


@pytest.mark.parametrize("boundary", ["", "; boundary=other"])
@pytest.mark.parametrize("shown", ["X", "= Of several words"])
def test_parts_without_their_boundary_are_read(tmp_path: Path, boundary: str, shown: str) -> None:
    parted = multipart("mixed", PLAIN, NOTES, boundary=shown).replace(
        f"; boundary={shown}\n\n", f"{boundary}\n\nBefore.\n\n"
    )
    rows = rows_of(tmp_path, (HEAD + parted).encode())
    assert texts_of(rows) == {"a.eml": "Tea\n\nBefore.\n\nPlain words.", "a.eml#notes.txt": "The notes."}
    data = f"{HEAD}Content-Type: multipart/mixed{boundary}\n\nOnly words: Grüße.\n"
    assert texts_of(rows_of(tmp_path, data.encode())) == {"a.eml": "Tea\n\nOnly words: Grüße."}


@pytest.mark.parametrize("kind", ["mixed", "alternative"])
def test_parts_with_a_charset_that_is_none_and_no_boundary_are_read(tmp_path: Path, kind: str) -> None:
    data = f"{HEAD}Content-Type: multipart/{kind}; charset*=idna''%ff\n\nGrüße.\n"
    assert texts_of(rows_of(tmp_path, data.encode())) == {"a.eml": "Tea\n\nGrüße."}


def test_a_message_inside_stays_the_bytes_it_is(tmp_path: Path) -> None:
    odd = f"X-Odd: =?utf-8?q?a=0A-b:c?=\nSubject: Tea\n{multipart('mixed', PLAIN, NOTES, boundary='ä')}"
    inside = f"Content-Type: message/rfc822; name=Tea\n\n{odd}"
    rows = rows_of(tmp_path, (HEAD + multipart("mixed", PLAIN, inside)).encode())
    texts = texts_of(rows)
    assert texts.keys() == {"a.eml", "a.eml#Tea"}
    assert "Plain words." in texts["a.eml#Tea"]
    assert [row.digest for row in rows if row.source == "a.eml#Tea"] == [digest(odd.encode())]


def test_line_ends_of_windows_leave_no_trace(tmp_path: Path) -> None:
    data = f"{HEAD}Content-Type: text/plain\n\nOne.\n\n".replace("\n", "\r\n")
    assert texts_of(rows_of(tmp_path, data.encode())) == {"a.eml": "Tea\n\nOne."}


@pytest.mark.parametrize("encoding", ["utf-8", "cp1251", "latin-1"])
def test_a_header_that_is_not_encoded_is_read(tmp_path: Path, encoding: str) -> None:
    subject = "Чай" if encoding == "cp1251" else "Grüße"
    head = f"Subject: {subject} =?utf-8?q?f=C3=BCr?= alle\nFrom: {subject} <a@example.org>\n"
    charset = "windows-1251" if encoding == "cp1251" else "us-ascii"
    body = f"Content-Type: text/plain; charset={charset}\n\nAt five.\n"
    (row,) = rows_of(tmp_path, (head + body).encode(encoding))
    assert isinstance(row, CollectedDocument)
    assert (row.title, row.author) == (f"{subject} für alle", subject)


def test_flowed_lines_are_joined(tmp_path: Path) -> None:
    body = "A long \nline. \n\n From here \non.\n> quoted \n> words\n-- \nAnn\n"
    data = f"{HEAD}Content-Type: text/plain; format=flowed\n\n{body}"
    assert texts_of(rows_of(tmp_path, data.encode())) == {"a.eml": "Tea\n\nA long line. \n\nFrom here on."}
    data = f"{HEAD}Content-Type: text/plain; format=flowed; delsp=yes\n\n長い \n行。\n"
    assert texts_of(rows_of(tmp_path, data.encode())) == {"a.eml": "Tea\n\n長い行。"}


@pytest.mark.parametrize(
    "data",
    [
        f'Content-Type: text/plain; a="{";" * 300_000}\n\nwords\n',
        f'Content-Disposition: attachment; a="{";" * 300_000}\n\nwords\n',
        "".join(f"Content-Type: multipart/mixed; boundary={n}\n\n--{n}\n" for n in range(300)) + "\n" * 300_000,
    ],
)
def test_time_grows_with_the_mail(tmp_path: Path, data: str) -> None:
    began = time.process_time()
    path = tmp_path / "a.eml"
    path.write_text(f"{HEAD}{data}")
    assert list(read_file(path, tmp_path, 1_000_000))
    assert time.process_time() - began < 5
