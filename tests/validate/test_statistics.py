"""Statistics per document against an obvious implementation."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.records import COPIED_RUNS, DEDUPED
from privllm.validate.drop_reasons import Cleaned, Collected
from privllm.validate.statistics import (
    STATISTICS,
    describe_documents,
    folder_of,
    totals,
    unique_words,
    words_of,
)

NO_RUNS = COPIED_RUNS.empty_table()
# Below Thai all scripts have spaces.
SPACED = st.characters(max_codepoint=0x0DFF, exclude_categories=["Cs", "Cc"])
TEXTS = st.text(SPACED | st.sampled_from(" \n\t\u00a0\u2003\u3000🙂안"), max_size=60)


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_words_are_what_str_split_gives(texts: list[str]) -> None:
    assert words_of(pa.array(texts, pa.string())).to_pylist() == [len(text.split()) for text in texts]


def test_a_page_without_spaces_is_more_than_one_word() -> None:
    texts = ["合同第十二条", "契約書 の", "ก็ดี", "计划 plan", "חוזה עבודה", "계약 서"]
    assert words_of(pa.array(texts, pa.string())).to_pylist() == [7, 6, 5, 4, 2, 2]


def test_a_sound_corpus_in_chinese_passes(corpus: Callable[..., Any], document: Callable[..., dict[str, Any]]) -> None:
    """Three placeholders on a page of one thousand letters are few, though no space stands on it."""
    letters = "".join(chr(0x4E00 + 7 * i) for i in range(1000))
    rows = [
        document(i, text=f"{letters[i:]}<PHONE>{letters[:i]}<EMAIL><PHONE>。", language="zh", placeholders=3)
        for i in range(30)
    ]
    report = corpus(rows).validate()
    assert (report["warnings"], report["placeholder_density"]) == (0, 0.003)


def test_one_row_per_document(document: Callable[..., dict[str, Any]]) -> None:
    rows = [
        document(1, text="Über alles\n\nüber jo@ex.org", placeholders=1, source="a/b/c.txt"),
        document(2, text="", language=""),
    ]
    described = describe_documents(pa.Table.from_pylist(rows, DEDUPED), NO_RUNS)
    assert described.schema == STATISTICS
    first, second = described.to_pylist()
    assert (first["characters"], first["words"], first["placeholder_density"], first["folder"], first["emails"]) == (
        26,
        4,
        0.25,
        "a",
        1,
    )
    assert first["unique_words"] == 0.75
    assert first["language_score"] == pytest.approx(0.9)
    assert (second["characters"], second["words"], second["placeholder_density"], second["language_score"]) == (
        0,
        0,
        0.0,
        None,
    )


def test_null_values_are_judged_not_skipped(document: Callable[..., dict[str, Any]]) -> None:
    row = document(1, id=None, text=None, source="x", placeholders=None)
    [described] = describe_documents(pa.Table.from_pylist([row], DEDUPED), NO_RUNS).to_pylist()
    assert (described["id"], described["characters"], described["placeholders"]) == ("", 0, 0)


def test_share_of_different_words_is_taken_over_the_first_thousand() -> None:
    assert unique_words("Same same " * 500 + "other words after the sample") == 1 / 1000
    assert unique_words("") == 1.0


def test_folder_is_the_first_part_of_the_source() -> None:
    assert [folder_of(source) for source in ("a/b.txt", "b.jsonl#3", "a.zip/x/y")] == ["a", ".", "a.zip"]


def test_totals_add_up(document: Callable[..., dict[str, Any]]) -> None:
    rows = [
        document(1, text="one two"),
        document(2, text="three four five", language="de", placeholders=1),
        document(3, text="six", language="de"),
    ]
    described = describe_documents(pa.Table.from_pylist(rows, DEDUPED), NO_RUNS)
    counts = Collected(8, 6, {"binary": 2}), Cleaned(6, 4, {"empty": 2})
    sums = totals(described, "", *counts)
    assert (sums["documents"], sums["survival_rate"], sums["language"], sums["language_share"]) == (
        3,
        0.5,
        "de",
        2 / 3,
    )
    assert (sums["mean_words"], sums["placeholder_density"], sums["leftover_personal_data"]) == (2, 1 / 6, 0)
    assert (sums["collected"], sums["entered_clean"], sums["kept"]) == (6, 6, 4)
    assert totals(described, "fr", *counts)["language_share"] == 0


def test_copied_bytes_are_those_of_held_out_documents(document: Callable[..., dict[str, Any]]) -> None:
    rows = [
        document(1, text="naïve café"),
        document(2, text="naïve café", split="validation"),
        document(3, text="sixteen letters!", split="test"),
    ]
    second = rows[1]["id"]
    runs = [(second, 0, 6), (second, 7, 12), ("elsewhere", 0, 99)]
    columns = dict(zip(COPIED_RUNS.names, zip(*runs, strict=True), strict=True))
    described = describe_documents(pa.Table.from_pylist(rows, DEDUPED), pa.table(columns, COPIED_RUNS))
    assert described["held_out_bytes"].to_pylist() == [0, 12, 16]
    assert described["copied_bytes"].to_pylist() == [0, 11, 0]
    sums = totals(described, "", Collected(3, 3, {}), Cleaned(3, 3, {}))
    assert sums["copied_share"] == 11 / 28
    none_held_out = describe_documents(pa.Table.from_pylist(rows[:1], DEDUPED), NO_RUNS)
    assert totals(none_held_out, "", Collected(1, 1, {}), Cleaned(1, 1, {}))["copied_share"] == 0


def test_survival_of_documents_that_were_cut_is_a_share(document: Callable[..., dict[str, Any]]) -> None:
    """Two of four files are read, one of these becomes nine sections; half of the ten are kept: a quarter survives."""
    described = describe_documents(pa.Table.from_pylist([document(1)], DEDUPED), NO_RUNS)
    sums = totals(described, "en", Collected(4, 2, {}), Cleaned(2, 5, {"too_short": 5}, cut=1, sections=9))
    assert (sums["survival_rate"], sums["entered_clean"]) == (0.25, 2)
