"""Normal form: laws, and the fast path against ftfy itself."""

import time
import unicodedata

import ftfy
import pytest
from ftfy.badness import BADNESS_RE
from hypothesis import given, settings
from hypothesis import strategies as st

from privllm.clean.code_units import SURROGATES, UNITS
from privllm.clean.normalise import _FLAG_OF, _SUSPECT, FTFY, _may_match, fix_mojibake, normalise

# What makes mojibake, line ends, ligatures, controls and combining marks meet each other often.
TRICKY = (
    "aZ .,\n\r\t\x00\x0c\x1b[0m\x85\x9d\xa0\xad©®«»°²³µ¼×"
    "ÂÃÎÐØÙßàâãéíîïðñòøùüÿŒœŠšŸžƒˆ˜–—‘’‚“”„†•…‰‹›€™ВГРСвЂўΒΓΞΟβā√≈│┐ﬁǆ\u0301\u0308\u200b\u200d\u2028\u202e\ufeff\uf8ff😀한가"
)
texts = st.one_of(st.text(), st.text(alphabet=TRICKY, max_size=60))


@given(texts)
@settings(max_examples=600, deadline=None)
def test_idempotent(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@given(texts)
@settings(max_examples=600, deadline=None)
def test_fast_path_gives_what_ftfy_gives(text: str) -> None:
    assert fix_mojibake(text) == ftfy.fix_text(text, FTFY)


def test_a_pattern_that_matches_is_always_tried() -> None:
    """On all of the basic plane, and nothing else there; on characters beyond it any of them may match."""
    for point in range(UNITS):
        matching = [pattern for pattern in _FLAG_OF if pattern.search(chr(point))]
        is_surrogate = SURROGATES.start <= point < SURROGATES.stop
        assert _may_match(f"a{chr(point)}", *_FLAG_OF) == (list(_FLAG_OF) if is_surrogate else matching), hex(point)
    assert _may_match("a\U000e0001", *_FLAG_OF) == list(_FLAG_OF)


def test_ftfy_is_not_asked_about_emoji(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("privllm.clean.normalise.ftfy.fix_text")
    assert fix_mojibake("Well done 😀, as it is.\n" * 20).startswith("Well done 😀")


@given(st.text(alphabet=TRICKY, max_size=12))
@settings(max_examples=600, deadline=None)
def test_whatever_ftfy_calls_bad_is_looked_at(text: str) -> None:
    assert BADNESS_RE.search(text) is None or _SUSPECT.search(text) is not None


@given(st.text(max_size=30).map(lambda text: text.encode("utf-8", "ignore").decode("cp1252", "ignore")))
@settings(max_examples=300, deadline=None)
def test_fast_path_on_mojibake(text: str) -> None:
    assert fix_mojibake(text) == ftfy.fix_text(text, FTFY)


@given(texts)
@settings(max_examples=300, deadline=None)
def test_form_of_the_result(text: str) -> None:
    result = normalise(text)
    assert unicodedata.is_normalized("NFC", result)
    assert not any(unicodedata.category(char) == "Cc" and char not in "\n\t" for char in result)
    assert "\n\n\n\n" not in result
    assert all(line == line.rstrip(" \t") for line in result.split("\n"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("cafÃ©\u200b  \r\nok", "café\nok"),
        ("It\u2019s \u201cfine\u201d \u2013 really\u2026", "It\u2019s \u201cfine\u201d \u2013 really\u2026"),
        ("e\u0301", "é"),
        ("a\u00a0b\u2003c", "a b c"),
        ("def f():\n    return 1\n\n\n\n\n\nx", "def f():\n    return 1\n\n\nx"),
        ("  indented first line", "  indented first line"),
        ("a\tb \t\nc", "a\tb\nc"),
        ("pass\u00adword zero\u200bwidth \ufeffmark", "password zerowidth mark"),
        ("page one\x0cpage two\rpage three", "page one\npage two\npage three"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("efﬁcient", "efficient"),
        ("&amp; &lt;b&gt; x<sup>２</sup>", "&amp; &lt;b&gt; x<sup>２</sup>"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d💻 a\u200db", "👩\u200d💻 ab"),
    ],
)
def test_examples(before: str, after: str) -> None:
    assert normalise(before) == after


def test_plain_text_costs_next_to_nothing() -> None:
    text = "It\u2019s a line of prose that needs nothing at all, and is one of many such lines.\n" * 50_000
    start = time.process_time()
    assert normalise(text) == text.strip("\n")
    assert time.process_time() - start < 2  # ftfy alone takes longer on a tenth of it
