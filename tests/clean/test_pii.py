"""Personal data: what goes, what stays, and that nobody can slow it down."""

import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privllm.clean.pii import KINDS, _redact_line, redact
from privllm.clean.pii_checks import luhn
from privllm.clean.secrets import redact_private_keys

GITHUB = "ghp_" + "a1B2c3D4e5" * 4
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7bq\nabc+/=\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"

FOUND = [
    ("write to bob.o'neil+spam@mail.corp.example now", "write to <EMAIL> now"),
    ("<a@b.co>, jürgen@münchen.example", "<<EMAIL>>, <EMAIL>"),
    ("call +44 (0)20 7946 0958 today", "call <PHONE> today"),
    ("(212) 555-0100 or 212-555-0199 or 212.555.0142 ext. 7", "<PHONE> or <PHONE> or <PHONE>"),
    ("1-800-555-0199", "<PHONE>"),
    ("Tel.: 030 12345678", "Tel.: <PHONE>"),
    ("Paris 01 42 68 53 00, London 020 7946 0958", "Paris <PHONE>, London <PHONE>"),
    ("my mobile number is 5550142", "my mobile number is <PHONE>"),
    ("from 93.184.216.34:80", "from <IP>:80"),
    ("10.1.2.3 and 192.168.0.17", "<IP> and <IP>"),
    ("at 2a00:1450:4001:82b::200e now", "at <IP> now"),
    ("card 4111 1111 1111 1111 please", "card <CARD> please"),
    ("378282246310005, 5555-5555-5555-4444", "<CARD>, <CARD>"),
    ("IBAN GB82 WEST 1234 5698 7654 32 THE END", "IBAN <IBAN> THE END"),
    ("DE89370400440532013000.", "<IBAN>."),
    ("SSN 219-09-9999; ssn: 219099999", "SSN <SSN>; ssn: <SSN>"),
    ("https://bob:hunter2@host.example/x", "https://<CREDENTIAL>@host.example/x"),
    ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "Authorization: Basic <CREDENTIAL>"),
    ("curl -H 'Authorization: Bearer abc123def456ghi789'", "curl -H 'Authorization: Bearer <CREDENTIAL>'"),
    ("password=hunter2", "password=<CREDENTIAL>"),
    ('db_password = "correct horse"', 'db_password = "<CREDENTIAL>"'),
    ("Password: s3cr3t!", "Password: <CREDENTIAL>"),
    (f"token {GITHUB}.", "token <KEY>."),
    ("AKIAIOSFODNN7EXAMPLE", "<KEY>"),
    (f"x\n{PEM}\ny", "x\n<KEY>\ny"),
    (f"jwt={JWT}", "jwt=<KEY>"),
    ("api_key: 9f8e7d6c5b4a39281706f5e4d3c2b1a0", "api_key: <KEY>"),
    ("<1234@www.NT-NETWORK>", "<<EMAIL>>"),
    ("mailto:john.doe%40corp.example?subject=x", "mailto:<EMAIL>?subject=x"),
    ("john.doe (at) corp (dot) example, bob[at]b.example", "<EMAIL>, <EMAIL>"),
    ("write to bob at corp dot example now", "write to <EMAIL> now"),
    ("send('bob@corp.example', f'eve@corp.example')", "send('<EMAIL>', f'<EMAIL>')"),
    ("from 10.0.0.7-10.0.0.9, host 41.17.96.26", "from <IP>-<IP>, host <IP>"),
    ("10.1.2.3  server1", "<IP>  server1"),
    ("http://41.17.96.26/, 41.17.96.26:8080 and [41.17.96.26]", "http://<IP>/, <IP>:8080 and [<IP>]"),
    ("4111.1111.1111.1111", "<CARD>"),
    ("Passwort: geheim123, Kennwort=geheim", "Passwort: <CREDENTIAL>, Kennwort=<CREDENTIAL>"),
    ("my credit card 060426070011 was lost", "my credit card <CARD> was lost"),
    ("\u0664\u0665 Tel \u0660\u0663\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667", "\u0664\u0665 Tel <PHONE>"),
]

KEPT = [
    "SQLite version 3.40.1.2 of 2023-02-21 18:09:37",
    "upgrading from versions 3.7.6.3, 3.7.7 or 3.7.7.1",
    "ISBN 978-0-306-40615-7 and ISBN 0-306-40615-2",
    "on 01-02-2023 at 10:30, 2023-01-15T10:20:30, 15/01/2023",
    "sha 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "127.0.0.1, 0.0.0.0, 255.255.255.0, ::1 and 192.0.2.7",
    "std::vector<int> a::b x[1::2] 12:34:56 00:1A:2B:3C:4D:5E",
    "4111 1111 1111 1112 fails its checksum",
    "GB82 WEST 1234 5698 7654 33 fails too",
    "integers up to +9223372036854775807 and -9223372036854775808",
    "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
    "00 01 02 03 04 05 06 07",
    "logo@2x.png and @decorator.setter, user@localhost",
    "The password is the one you chose. Passwords: see below. Basic authentication is off.",
    "def login(user, password=None, token: str = '') -> None: password = getpass.getpass()",
    "the next token: identifier; PRIMARY KEY = rowid; key = value",
    "3.14159265358979 and 1,234,567,890 and 1e-10",
    "-----BEGIN CERTIFICATE-----",
    "24.2.2.4. Nondeterministic Collations\n  24.2.2.4 Collations\nsee Section 43.7.2.1 and 9.1.2.3",
    "10.1.2.3 Titles of it\nSections 10.2.1.1, 10.2.1.2 and 10.2.1.3",
    "11.8.5.2, 11.8.7, etc; zlib 12.3.4.5 in foo-10.1.2.3.tgz; 1:12.3.3.3.dfsg",
    "Nr. 10.12.3.4 and Windows 10.0.19.45",
    "the networks 10.1.0.0/16 and 192.168.4.0/24",
    "macaddr8 '08:00:2b:01:02:03:04:05'",
    "the password is MD5-encrypted; password: 8-character, secret is sha256",
    "060426070011 is no card without the word",
    "meet at noon dot matrix printers",
]


@pytest.mark.parametrize(("before", "after"), FOUND)
def test_found(before: str, after: str) -> None:
    text, counts = redact(before)
    assert text == after
    assert sum(counts.values()) == sum(after.count(f"<{kind}>") for kind in KINDS)


@pytest.mark.parametrize("text", KEPT)
def test_kept(text: str) -> None:
    assert redact(text) == (text, {})


PIECES = (
    [before for before, _ in FOUND]
    + KEPT
    + [f"<{kind}>" for kind in KINDS]
    + [" ", "\n", "-", ".", "1", "@", ":", "=", "+", "a"]
)


@given(
    st.lists(
        st.one_of(st.sampled_from(PIECES), st.text(alphabet="0123456789 .-+()@:=<>/abcdefXY_", max_size=12)), max_size=8
    ).map("".join)
)
@settings(max_examples=400, deadline=None)
def test_idempotent(text: str) -> None:
    once, _ = redact(text)
    assert redact(once) == (once, {})


@given(st.lists(st.sampled_from([*PIECES, "\n", "ü", "\u2019", "\u0663"]), max_size=12).map("".join))
@settings(max_examples=400, deadline=None)
def test_no_line_is_passed_over_that_holds_any(text: str) -> None:
    """The search for lines that may hold personal data saves time, and must change nothing."""
    counts: Counter[str] = Counter()
    text = redact_private_keys(text, counts)
    lines = [_redact_line(line, counts, ()) for line in text.split("\n")]
    assert redact(text)[0] == "\n".join(lines)


@given(st.text(alphabet="0123456789", min_size=2, max_size=18))
def test_luhn_catches_every_single_wrong_digit(digits: str) -> None:
    check = next(digit for digit in "0123456789" if luhn(digits + digit))
    wrong = str((int(digits[0]) + 1) % 10) + digits[1:] + check
    assert luhn(digits + check)
    assert not luhn(wrong)


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a.",
        "a@",
        "a@b.",
        "1",
        "1 ",
        "1.",
        "1-",
        "+1",
        "(1",
        "0 1",
        "a:",
        "::",
        "1:",
        "://a:",
        "password",
        "password ",
        "password=",
        "-----BEGIN PRIVATE KEY-----",
        "eyJ",
        "eyJa.",
        "GB82 ",
        "tel ",
        "1.1.1.1 ",
        "Section 1.1.1.1 and ",
        "a (at) b (dot) ",
        "a%40",
        "call me at 12-34 ",
        "+49 1 / ",
        "://a:b@",
        "Authorization: Bearer ",
    ],
)
def test_a_megabyte_of_anything_costs_no_more_than_prose(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    start = time.process_time()
    redact(text)
    assert time.process_time() - start < 1.5


@pytest.mark.parametrize("name", ["api", "access", "private", "encryption", "signing", "auth", "secret"])
@pytest.mark.parametrize("joint", ["", "_", "-"])
def test_every_kind_of_named_key_is_found(name: str, joint: str) -> None:
    for spelled in (f"{name}{joint}key", f"{name.upper()}{joint}KEY", f"MY_{name}{joint}key"):
        text, counts = redact(f'{spelled} = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"')
        assert (text.count("9f8e"), sum(counts.values())) == (0, 1)
