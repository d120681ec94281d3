"""Quality rules: each is reached by its own bad text, and good text passes all."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privllm.clean.quality import STOP_WORDS, QualityConfig, duplicate_share, fault_of, ngram_bounds, ngram_shares
from privllm.core.errors import UserError

PROSE = (
    "Databases keep tables of rows, and with an index the engine finds a row without reading all of them. "
    "To build one you name the columns that your queries ask for most; writes become slower, since every change "
    "must be made twice, but reads have far less to look at. Measure before you decide, because small tables gain nothing."
)
WORDS = [f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(400)]
STOPPED = ["the", "and", *WORDS]

BAD = [
    ("too_short", "Only a few words of the text and that is all"),
    ("mean_word_length", "the and " + " ".join("x" * 40 for _ in range(30))),
    ("symbol_ratio", "the and " + "# hash " * 30),
    ("too_few_stop_words", " ".join(WORDS)),
    ("few_alphabetic_words", "the and " + "123 456 " * 40),
    ("bullet_lines", "\n".join(f"• the {word} and {word}s" for word in WORDS)),
    ("ellipsis_lines", "\n".join(f"the {word} and more ..." for word in WORDS)),
    ("duplicate_lines", "the and\n" + "Buy now and save a lot of your hard earned money today\n" * 20),
    ("duplicate_paragraphs", "\n\n".join([PROSE] * 4).replace("\n\n", "\n\n", 1).replace(". ", ".\n")),
    ("top_ngram", " ".join(f"the {word} and buy now" for word in WORDS)),
    ("duplicate_ngrams", " ".join([" ".join(STOPPED)] * 4)),
    ("lorem_ipsum", "Lorem ipsum dolor sit amet, consectetur adipiscing elit, the and " + " ".join(WORDS[:30])),
    (
        "javascript",
        "You need to enable JavaScript to run this app and to see the page that you have asked for, so please do that with your browser.",
    ),
]


@pytest.mark.parametrize(("reason", "text"), BAD)
def test_each_rule_has_a_text_that_breaks_it(reason: str, text: str) -> None:
    strict = QualityConfig(max_duplicate_lines=1.0) if reason == "duplicate_paragraphs" else QualityConfig()
    found = fault_of(strict, text, "en")
    assert found is not None
    assert found[0] == reason


def test_too_long_only_where_asked() -> None:
    assert fault_of(QualityConfig(max_words=10, min_words=5), PROSE, "en") == ("too_long", f"{len(PROSE.split())} words, at most 10")


def test_prose_passes() -> None:
    assert fault_of(QualityConfig(), PROSE, "en") is None


def test_reference_page_passes() -> None:
    methods = "\n".join(
        f"{word}(self, {WORDS[i + 90]}, {WORDS[i + 200]}=None)\n    Return the {word} of this {WORDS[i + 90]}.\n"
        for i, word in enumerate(WORDS[:60])
    )
    assert fault_of(QualityConfig(), f"Help on module shapes, to be read with the tutorial.\n\nClasses\n\n{methods}", "en") is None


def test_stop_words_are_asked_of_english_only() -> None:
    text = " ".join(WORDS)
    assert fault_of(QualityConfig(), text, "de") is None
    assert fault_of(QualityConfig(), text, "") is not None


def test_ranges() -> None:
    with pytest.raises(UserError, match=r"clean\.quality\.max_top_ngram"):
        QualityConfig(max_top_ngram=1.5)


def test_duplicate_share() -> None:
    assert duplicate_share([]) == 0.0
    assert duplicate_share(["aa", "aa", "bb"]) == pytest.approx(1 / 3)


def slow_shares(words: list[str]) -> tuple[float, float]:
    total = sum(map(len, words))
    top = 0
    for size in (2, 3, 4):
        grams = Counter(tuple(words[i : i + size]) for i in range(len(words) - size + 1))
        most = max(grams.values())
        if most > 1:
            gram = next(gram for gram, number in grams.items() if number == most)
            top = max(top, most * sum(map(len, gram)))
    seen: set[tuple[str, ...]] = set()
    covered: set[int] = set()
    for i in range(len(words) - 7):
        gram = tuple(words[i : i + 8])
        if gram in seen:
            covered.update(range(i, i + 8))
        seen.add(gram)
    return top / total, sum(len(words[i]) for i in covered) / total


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=8, max_size=60))
@settings(max_examples=300, deadline=None)
def test_ngram_shares_against_the_obvious(words: list[str]) -> None:
    assert ngram_shares(words) == pytest.approx(slow_shares(words))


def test_ngram_shares_of_few_words() -> None:
    assert ngram_shares(["a"] * 7) == ngram_bounds(["a"] * 7) == (0.0, 0.0)


@given(st.lists(st.sampled_from(["a", "bb", "ccc", "dddd", "the", "of"]), min_size=8, max_size=80))
@settings(max_examples=300, deadline=None)
def test_ngram_bounds_are_never_below_the_shares(words: list[str]) -> None:
    for bound, share in zip(ngram_bounds(words), ngram_shares(words), strict=True):
        assert bound >= share


def test_ngram_bounds_spare_prose_the_shares() -> None:
    top, duplicates = ngram_bounds(PROSE.split())
    assert top < QualityConfig().max_top_ngram
    assert duplicates < QualityConfig().max_duplicate_ngrams


WORD = st.sampled_from(["The", "the", "OF", "of", "and", "x1", "12", "--", "3.5", "été", "漢字", "b-2", "word"])


@given(st.lists(WORD, min_size=20, max_size=40), st.integers(0, 4), st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]))
def test_rules_of_words_against_the_obvious(words: list[str], stop_words: int, share: float) -> None:
    cfg = QualityConfig(min_stop_words=stop_words, min_alphabetic_words=share, min_mean_word_length=0)
    fault = fault_of(cfg, " ".join(words), "en")
    found = {word.lower() for word in words} & STOP_WORDS
    alphabetic = sum(any(map(str.isalpha, word)) for word in words) / len(words)
    assert (fault is not None and fault[0] == "too_few_stop_words") == (len(found) < stop_words)
    if len(found) >= stop_words:
        assert (fault is not None and fault[0] == "few_alphabetic_words") == (alphabetic < share)
