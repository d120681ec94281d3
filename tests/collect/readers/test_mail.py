"""Mail: what somebody wrote, without headers, quotations and encodings; attachments are files inside it."""

import base64
import io
import mailbox as mailbox_module
from email.errors import MessageError
from email.message import EmailMessage, Message
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.collect.read_file import read_file
from privllm.collect.readers import mail
from privllm.collect.readers.mail import split_mailbox
from privllm.collect.readers.registry import media_type, reader_of
from tests.collect.readers.test_archive import reasons_of, texts_of

LIMIT = 10_000
TRIPPED = (
    *(MessageError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError),
    *(AssertionError, UnicodeDecodeError),
)


def message(text: str = "At five.\n", subject: str = "Tea", **headers: str) -> EmailMessage:
    made = EmailMessage()
    made["Subject"], made["From"] = subject, "Somebody <somebody@example.org>"
    for name, value in headers.items():
        made[name.replace("_", "-")] = value
    made.set_content(text)
    return made


def rows_of(tmp_path: Path, data: bytes, name: str = "a.eml") -> list[CollectedDocument | Quarantined]:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return list(read_file(path, tmp_path, LIMIT))


def mailbox(*messages: bytes) -> bytes:
    return b"".join(b"From somebody Thu Nov 26 04:23:00 2026\n" + data + b"\n" for data in messages)


@pytest.mark.parametrize("encoding", ["7bit", "base64", "quoted-printable"])
def test_a_message_is_its_subject_and_its_text(tmp_path: Path, encoding: str) -> None:
    made = message()
    made.set_content("At five, where the tea is.\n", cte=encoding)
    (row,) = rows_of(tmp_path, made.as_bytes())
    assert isinstance(row, CollectedDocument)
    assert (row.media_type, row.text) == ("text/plain", "Tea\n\nAt five, where the tea is.")


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "windows-1252"])
def test_a_declared_charset_is_read(tmp_path: Path, charset: str) -> None:
    made = message(subject="Tee für Ömer")
    made.set_content("Um fünf bei Müllers.\n", charset=charset, cte="base64")
    assert list(texts_of(rows_of(tmp_path, made.as_bytes())).values()) == ["Tee für Ömer\n\nUm fünf bei Müllers."]


@pytest.mark.parametrize("charset", ["unknown-8bit", "rot13", "us-ascii", "punycode", "x" * 300])
def test_a_charset_that_is_none_or_wrong_is_not_believed(tmp_path: Path, charset: str) -> None:
    text = "Grüße aus München, wo heute die Sonne über den Dächern scheint."
    data = f"Subject: S\nContent-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: 8bit\n\n".encode()
    (row,) = rows_of(tmp_path, data + text.encode("cp1252"))
    assert isinstance(row, CollectedDocument)
    assert row.text.endswith(text)


def test_of_alternatives_the_plain_text_counts(tmp_path: Path) -> None:
    made = message("plain words\n")
    made.add_alternative("<p>html words</p>", subtype="html")
    assert list(texts_of(rows_of(tmp_path, made.as_bytes())).values()) == ["Tea\n\nplain words"]


def test_html_alone_is_left_to_clean(tmp_path: Path) -> None:
    made = message(" \n", subject="Tea & <cake>")
    made.add_alternative("<p>html words</p>", subtype="html")
    (row,) = rows_of(tmp_path, made.as_bytes())
    assert isinstance(row, CollectedDocument)
    assert row.media_type == "text/html"
    assert row.text.startswith("<h1>Tea &amp; &lt;cake&gt;</h1>\n<p>html words</p>")


def test_attachments_and_forwarded_messages_are_files_inside(tmp_path: Path) -> None:
    made = message()
    made.add_attachment(b"notes of the day", "text", "plain", filename="nötes.txt")
    made.add_attachment(message("forwarded words\n", "Old"))
    made.add_attachment(b"x", "image", "png", filename="photo.png")
    rows = rows_of(tmp_path, made.as_bytes())
    assert texts_of(rows) == {
        "a.eml": "Tea\n\nAt five.",
        "a.eml#nötes.txt": "notes of the day",
        "a.eml#message.eml": "Old\n\nforwarded words",
    }
    assert reasons_of(rows) == {"a.eml#photo.png": "unsupported"}


def test_messages_of_a_mailbox_are_named_by_their_id_or_bytes(tmp_path: Path) -> None:
    first, second = message(Message_ID="<1@example.org>").as_bytes(), message("At six.\n").as_bytes()
    rows = texts_of(rows_of(tmp_path, mailbox(first, second), "in.mbox"))
    assert list(rows.values()) == ["Tea\n\nAt five.", "Tea\n\nAt six."]
    assert next(iter(rows)) == "in.mbox#1@example.org"
    third = message("At seven.\n").as_bytes()
    assert rows.items() < texts_of(rows_of(tmp_path, mailbox(third, second, first), "in.mbox")).items()


def test_an_attachment_in_a_mailbox_is_named_by_its_message(tmp_path: Path) -> None:
    made = message(Message_ID="<1@example.org>")
    made.add_attachment(b"words", "text", "plain", filename="notes.txt")
    rows = texts_of(rows_of(tmp_path, mailbox(made.as_bytes()), "in.mbox"))
    assert list(rows) == ["in.mbox#1@example.org", "in.mbox#1@example.org/notes.txt"]


def test_lines_that_begin_with_from_split_no_message(tmp_path: Path) -> None:
    data = mailbox(message("One.\n\nFrom here on it rains.\n>From there too.\n").as_bytes())
    (text,) = texts_of(rows_of(tmp_path, data, "in.mbox")).values()
    assert "From here on it rains.\nFrom there too." in text


@pytest.mark.parametrize(
    "line",
    [
        "From January until March 2019 the harbour was closed.",
        "From now on: everything 2020",
        "From Monday on, Thu Nov 26 04:23:00 2026",
    ],
)
def test_a_line_of_a_text_begins_no_mail(tmp_path: Path, line: str) -> None:
    data = mailbox(message(f"One.\n\n{line}\nSubject: Two\n").as_bytes())
    (text,) = texts_of(rows_of(tmp_path, data, "in.mbox")).values()
    assert line in text


@pytest.mark.parametrize(
    "line",
    [
        "From - Thu Nov 26 04:23:00 2026",
        "From ann@example.org Thu Nov  5 04:23 2026\r",
        "From 17@xxx Thu Nov 26 04:23:00 +0000 2026",
        "From MAILER-DAEMON Thu Nov 26 04:23:00 2026 +0200",
        "From ann at example.org  Thu Nov 26 04:23:00 CET 2026",
        "From ann@example.org Thu, 26 Nov 2026 04:23:00 +0000",
        'From "Ann Example"@example.org Thu Nov 26 04:23:00 2026',
        "From  Thu Nov 26 04:23:00 2026",
    ],
)
def test_lines_between_mails(tmp_path: Path, line: str) -> None:
    data = mailbox(message("One.\n").as_bytes()) + line.encode() + b"\n" + message("Two.\n").as_bytes()
    assert list(texts_of(rows_of(tmp_path, data, "in.mbox")).values()) == ["Tea\n\nOne.", "Tea\n\nTwo."]


def test_a_long_line_is_soon_known_to_begin_no_mail() -> None:
    data = mailbox(b"A: 1\n\n\nFrom " + b" " * 1_000_000)
    assert len(list(split_mailbox(io.BytesIO(data), LIMIT))) == 1


def test_a_byte_order_mark_loses_no_mail(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbf" + mailbox(message("One.\n").as_bytes(), message("Two.\n").as_bytes())
    rows = rows_of(tmp_path, data, "in.mbox")
    assert list(texts_of(rows).values()) == ["Tea\n\nOne.", "Tea\n\nTwo."]
    assert not reasons_of(rows)


def test_text_before_the_first_mail_is_refused_by_name(tmp_path: Path) -> None:
    before = b"What somebody typed.\n\n"
    rows = rows_of(tmp_path, before + mailbox(message().as_bytes()), "in.mbox")
    assert list(texts_of(rows).values()) == ["Tea\n\nAt five."]
    assert reasons_of(rows) == {"in.mbox": "no_mail"}
    assert [row.bytes for row in rows if isinstance(row, Quarantined)] == [len(before)]
    assert not reasons_of(rows_of(tmp_path, b"\n\n" + mailbox(message().as_bytes()), "in.mbox"))


def test_a_maildir_is_known_by_its_folders(tmp_path: Path) -> None:
    name = "cur/1764130980.M5P6.host:2,S"
    assert media_type(name) == "message/rfc822"
    assert reader_of("other/1764130980.M5P6.host") is None
    assert texts_of(rows_of(tmp_path, message().as_bytes(), name)) == {name: "Tea\n\nAt five."}


def test_a_message_over_the_limit_is_refused_and_the_next_is_read(tmp_path: Path) -> None:
    data = mailbox(message("x" * 70 + "\n" * LIMIT).as_bytes(), message().as_bytes())
    rows = rows_of(tmp_path, data, "in.mbox")
    assert list(reasons_of(rows).values()) == ["too_large"]
    assert list(texts_of(rows).values()) == ["Tea\n\nAt five."]


def test_parts_inside_each_other_have_an_end(tmp_path: Path) -> None:
    deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (depth, depth) for depth in range(40))
    assert reasons_of(rows_of(tmp_path, b"Subject: S\n" + deep + b"\nwords\n")) == {"a.eml": "too_much"}


@given(st.data())
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    made = message()
    made.add_attachment(b"words", "text", "plain", filename="notes.txt")
    spoilt = bytearray(made.as_bytes())
    chance = Random(data.draw(st.integers(0, 1 << 30)))
    for _ in range(data.draw(st.integers(1, 40))):
        spoilt[chance.randrange(len(spoilt))] = chance.choice(b'\n:;=-"\x00\xff a?')
    folder = tmp_path_factory.mktemp("mail")
    rows = rows_of(folder, bytes(spoilt))
    assert rows[0].source == "a.eml"


def test_a_mailbox_is_read_message_by_message() -> None:
    data = mailbox(b"A: 1\n\none\n", b"B: 2\n\ntwo\n")
    assert [(number, size) for number, _, size in split_mailbox(io.BytesIO(data), LIMIT)] == [(0, 11), (1, 11)]


def test_a_text_of_no_encoding_is_refused_by_its_name_and_the_rest_is_read(tmp_path: Path) -> None:
    noise = base64.encodebytes(Random(0).randbytes(3000)).decode()
    parts = [
        f"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n{noise}",
        "Content-Type: text/plain\n\nAt six, then.\n",
        "Content-Type: text/plain\nContent-Disposition: attachment; filename=cups.txt\n\nBring the good cups.\n",
    ]
    head = "Subject: Tea\nContent-Type: multipart/mixed; boundary=X\n\n"
    rows = rows_of(tmp_path, (head + "".join(f"--X\n{part}\n" for part in parts) + "--X--\n").encode())
    assert texts_of(rows) == {"a.eml": "Tea\n\nAt six, then.", "a.eml#cups.txt": "Bring the good cups.\n"}
    (refused,) = [row for row in rows if isinstance(row, Quarantined)]
    assert refused.source == "a.eml#text1.txt"


@pytest.mark.parametrize(
    ("headers", "about"),
    [
        ({"Date": "Tue, 05 Mar 2024 23:30:00 -0800"}, ("Tea", "Somebody", "2024-03-05")),
        ({"Date": "some day"}, ("Tea", "Somebody", "")),
        ({"Date": "Thu, 26 Nov 2026 04:23:00 +99999999999999"}, ("Tea", "Somebody", "")),
        ({"Date": "Thu, 26 Nov 99999999999999999999 04:23:00 +0000"}, ("Tea", "Somebody", "")),
        ({"Date": "Thu, 99999999999999999999 Nov 2026 04:23:00 +0000"}, ("Tea", "Somebody", "")),
        ({"From": "=?utf-8?q?Ad=C3=A4?= <a@example.org>"}, ("Tea", "Adä", "")),
        ({"From": "<a@example.org>"}, ("Tea", "a@example.org", "")),
        ({"From": ""}, ("Tea", "", "")),
    ],
)
def test_subject_sender_and_day_are_known(tmp_path: Path, headers: dict[str, str], about: tuple[str, ...]) -> None:
    lines = {"Subject": "Tea", "From": "Somebody <somebody@example.org>"} | headers
    data = "".join(f"{name}: {value}\n" for name, value in lines.items()) + "\nAt five.\n"
    (row,) = rows_of(tmp_path, data.encode())
    assert isinstance(row, CollectedDocument)
    assert (row.title, row.author, row.date) == about


@pytest.mark.parametrize("name", ["a.mbox", "a.mbx", "a.txt", "a.eml"])
@pytest.mark.parametrize("separators", [2, 1])
@pytest.mark.parametrize("from_line", [b"", b"From somebody Thu Nov 26 04:23:00 2026\n"])
def test_a_mailbox_in_mmdf_is_read(tmp_path: Path, name: str, separators: int, from_line: bytes) -> None:
    line = b"\x01\x01\x01\x01\n"
    mails = [
        from_line + message(f"At {hour}.\n", Message_ID=f"<{hour}@e>").as_bytes() for hour in ("five", "six", "ten")
    ]
    data = line + (line * separators).join(mails) + line
    rows = rows_of(tmp_path, data, name)
    assert texts_of(rows) == {f"{name}#{hour}@e": f"Tea\n\nAt {hour}." for hour in ("five", "six", "ten")}
    assert not reasons_of(rows)


def test_a_mailbox_that_mailbox_writes_in_mmdf_is_read(tmp_path: Path) -> None:
    box = mailbox_module.MMDF(tmp_path / "box.mbox")
    for hour in ("five", "six"):
        box.add(message(f"At {hour}.\n\nFrom there we go on.\n"))
    box.close()
    rows = list(read_file(tmp_path / "box.mbox", tmp_path, LIMIT))
    assert sorted(texts_of(rows).values()) == [f"Tea\n\nAt {hour}.\n\nFrom there we go on." for hour in ("five", "six")]
    assert not reasons_of(rows)


@pytest.mark.parametrize("error", TRIPPED)
def test_whatever_the_parser_trips_over_costs_one_mail(
    tmp_path: Path, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = mail.parsed_mail
    arguments = ("utf-8", b"", 0, 1, "odd") if error is UnicodeDecodeError else ("odd",)

    def tripping(data: bytes) -> Message:
        if b"odd" in data:
            raise error(*arguments)
        return parsed(data)

    monkeypatch.setattr(mail, "parsed_mail", tripping)
    begin = b"From a@b Thu Nov 26 04:23:00 2026\n"
    mails = [b"Subject: S\nMessage-ID: <%d@h>\n\n%b words\n\n" % pair for pair in enumerate([b"odd", b"plain"])]
    rows = rows_of(tmp_path, begin + begin.join(mails), "a.mbox")
    assert reasons_of(rows) == {"a.mbox#0@h": "damaged"}
    assert [row.source for row in rows if isinstance(row, CollectedDocument)] == ["a.mbox#1@h"]


def test_a_mail_with_the_message_id_of_another_moves_nothing_where_it_is_appended(tmp_path: Path) -> None:
    begin = b"From a@b Thu Nov 26 04:23:00 2026\n"
    mails = [b"Subject: S\nMessage-ID: <x@h>\n\n%b words\n\n" % text for text in (b"first", b"second", b"third")]
    found = [texts_of(rows_of(tmp_path, begin + begin.join(mails[:count]), "a.mbox")) for count in (1, 2, 3)]
    assert [*found[0]] == ["a.mbox#x@h"]
    for before, after in pairwise(found):
        assert before.items() < after.items()


REPORT = "Reporting-MTA: dns; mx.example\n\nFinal-Recipient: rfc822; a@b\nDiagnostic-Code: smtp; 550 gone\n"


@pytest.mark.parametrize(
    ("kind", "data", "sources"),
    [
        ("delivery-status", REPORT, {"a.eml#message.txt": REPORT}),
        ("disposition-notification", "Disposition: displayed\n", {"a.eml#message.txt": "Disposition: displayed\n"}),
        ("global", "Subject: Tide\n\nHigh.\n", {"a.eml#message.eml": "Tide\n\nHigh."}),
        ("news", "Subject: Tide\n\nHigh.\n", {"a.eml#message.eml": "Tide\n\nHigh."}),
    ],
)
def test_headers_that_a_part_consists_of_are_kept(
    tmp_path: Path, kind: str, data: str, sources: dict[str, str]
) -> None:
    head = "Subject: Tea\nMIME-Version: 1.0\nContent-Type: multipart/report; boundary=B\n\n--B\n\nAt five.\n"
    rows = rows_of(tmp_path, f"{head}--B\nContent-Type: message/{kind}\n\n{data}\n--B--\n".encode())
    assert texts_of(rows) == {"a.eml": "Tea\n\nAt five.", **sources}
