"""Own kinds of personal data only add to what is removed, and no placeholder is cut."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.clean.clean_text import clean_text
from privllm.clean.own_personal_data import personal_data, redact_own
from privllm.clean.pii import KINDS, redact
from privllm.core.errors import UserError
from privllm.engine.extensions import Extensions
from privllm.engine.load_extensions import Entry
from tests.extend import Extended, make_extended

HOUSE = Extensions("", ("extensions.house",))
PATTERNS = [r"K-\d{3}", r"\d+", r"[A-Z]{2,}", r"Name: .{1,10}", r"[<>]", r" ?<?[A-Z]+", r"\w+@"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Extended:
    return make_extended(tmp_path / "project", monkeypatch)


def finders(**values: Any) -> dict[str, Entry]:
    return {kind: Entry(value, kind, "extensions/house.py, line 1") for kind, value in values.items()}


def redacted(text: str, **values: Any) -> tuple[str, dict[str, int]]:
    return redact(text, lambda text, counts: redact_own(finders(**values), text, counts))


def test_a_pattern_of_an_extension_becomes_a_placeholder(project: Extended) -> None:
    project.write("extensions/house.py", 'import re\n\nPERSONAL_DATA = {"CUSTOMER": re.compile(r"\\bK-\\d{6}\\b")}\n')
    text = "K-123456 and K-1, mail bob@corp.example"
    assert clean_text(text, HOUSE) == ("<CUSTOMER> and K-1, mail <EMAIL>", {"CUSTOMER": 1, "EMAIL": 1})
    assert clean_text(text) == ("K-123456 and K-1, mail <EMAIL>", {"EMAIL": 1})


def test_a_function_gives_spans() -> None:
    def found(text: str) -> list[tuple[int, int]]:
        return [(6, 9), (0, 2), (1, 4)]

    once = Counter[str]()
    assert redact_own(finders(NAME=found), "abcdefghi", once) == "<NAME>ef<NAME>"
    assert once == {"NAME": 2}


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"[A-Z]{3,}", "mail bob@corp.example ABC", "mail <EMAIL> <OWN>"),  # not within a placeholder
        (r"mail <EM", "mail bob@corp.example.", "<OWN>."),  # all of it, or none
        (r"AIL> x", "mail bob@corp.example x", "mail <OWN>"),
        (r"@corp", "mail bob@corp.example", "mail <EMAIL>"),  # ours come first, so none of an address is left
        (r"Name: .{3,20}", "Name: Jo 020 7946 0958 in", "<OWN>"),
    ],
)
def test_placeholders_stay_whole(pattern: str, text: str, expected: str) -> None:
    assert redacted(text, OWN=re.compile(pattern))[0] == expected


@given(
    st.lists(
        st.sampled_from(
            ["K-123", " ", "bob@corp.example", "Name: ", "020 7946 0958", "<EMAIL>", "<", ">", "AB", "x", "1"]
        )
    ).map("".join),
    st.sampled_from(PATTERNS),
    st.sampled_from(PATTERNS),
)
def test_twice_is_once_and_nothing_of_ours_is_lost(text: str, first: str, second: str) -> None:
    values = {"ONE": re.compile(first), "TWO": re.compile(second)}
    once, _ = redacted(text, **values)
    assert redacted(once, **values) == (once, {})
    assert redact(once) == (once, {})
    for kind in ("ONE", "TWO", *KINDS):
        once = once.replace(f"<{kind}>", "")
    assert "bob@" not in once or "bob@" in redact(text)[0]


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ('"EMAIL": re.compile("a")', "a kind of privllm's own"),
        ('"customer": re.compile("a")', "capitals"),
        ('"CUSTOMER": "a"', "must be re.compile"),
        ('"CUSTOMER": re.compile(b"a")', "must be re.compile"),
        ('"CUSTOMER": re.compile("a*")', "matches where there is nothing"),
    ],
)
def test_a_finder_that_cannot_be_used_is_refused_with_its_line(project: Extended, entry: str, fault: str) -> None:
    project.write("extensions/house.py", f"import re\nPERSONAL_DATA = {{\n    {entry},\n}}\n")
    with pytest.raises(UserError, match=f"house.py, line 3: .*{fault}"):
        personal_data(HOUSE)


@pytest.mark.parametrize("spans", [[(0, 99)], [(-1, 2)], [(2, 2)], [(3, 1)]])
def test_spans_outside_of_the_text_are_refused(spans: list[tuple[int, int]]) -> None:
    with pytest.raises(UserError, match=r"line 1: `OWN` found .* in a text of 9 characters"):
        redact_own(finders(OWN=lambda text: spans), "abcdefghi", Counter())


def test_what_is_no_span_is_blamed_on_the_function() -> None:
    with pytest.raises(UserError, match="`OWN` failed on a document: "):
        redact_own(finders(OWN=lambda text: ["abc"]), "abcdefghi", Counter())
