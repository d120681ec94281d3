"""Baselines: the compressors' own tools, probabilities that sum to one, and clean parts counted byte by byte."""

import bz2
import lzma
import math
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import privllm.evaluate.baselines as module
from privllm.core.records import COPIED_RUNS, DEDUPED
from privllm.core.tables import write_table
from privllm.engine.cache import Cache
from privllm.engine.store import Store
from privllm.evaluate.baselines import NGRAM, XZ, WordModel, baselines, compressed_sizes, ngram_figures, words_of
from privllm.tokens.vocabulary_sample import SAMPLE

TRAINING = [
    "The cat sat on the mat. The dog sat on the log.\n",
    "A cat and a dog, ein Käse, 一個貓.",
    "The end of the cat",
]
HELD_OUT = ["The cat sat on the log, and the pig ate Käse.", "", "The dog.\n\n一個貓 is a cat"]
TEXTS = st.text("abc .,\né一ß", max_size=40)
MARKS = st.lists(st.booleans(), min_size=45, max_size=45)  # which bytes are copied, again and again
MARKED_TEXTS = st.lists(st.tuples(TEXTS, MARKS), min_size=1, max_size=4).filter(
    lambda rows: any(text for text, _ in rows)
)


@given(st.text(max_size=80))
def test_words_joined_are_the_text(text: str) -> None:
    assert "".join(words_of(text)) == text


def test_longest_words_have_a_probability_above_zero() -> None:
    model = WordModel(["a"])
    strange = "\U0001f600\u4e00\xff" + "\U00020000" * 200 + "z" * 500
    assert np.isfinite(np.concatenate(model.nats([strange, "", "a"]))).all()


@pytest.mark.parametrize("history", [[], ["The", " cat"], ["The", " cat", " sat", " on", " the"], ["nobody", " knows"]])
def test_probabilities_of_all_next_words_sum_to_one(history: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of known words, of the end, and of all others: what spelling leaves them, times its weight after this history."""
    monkeypatch.setattr(module, "words_of", lambda text: text.split("|") if text else [])
    model = WordModel(["|".join(words_of(text)) for text in TRAINING])
    vocabulary = model.vocabulary.to_pylist()
    *spelt, spelt_x = model.spelt_probability([*vocabulary, "x"])

    def after_history(word: str) -> float:
        return math.exp(-model.nats(["|".join([*history, word])])[0][len(history)])

    end = math.exp(-model.nats(["|".join(history)])[0][-1])
    others = after_history("x") / spelt_x * (1 - sum(spelt))
    assert 0 < others < 1
    assert sum(map(after_history, vocabulary)) + end + others == pytest.approx(1)


def test_spelt_words_sum_to_less_than_one() -> None:
    """Of sixteen thousand short words none is counted twice."""
    symbols = [chr(point) for point in range(128)]
    pairs = [first + second for first in symbols for second in symbols]
    model = WordModel(["ab abc b ba"])
    assert 0.3 < model.spelt_probability(["", *symbols, *pairs]).sum() < 1
    assert model.spelt_probability(["ab"])[0] > model.spelt_probability(["aq"])[0] > 0


@settings(max_examples=60, deadline=None)
@given(MARKED_TEXTS)
def test_clean_words_have_no_copied_byte(rows: list[tuple[str, list[bool]]]) -> None:
    model = WordModel(TRAINING)
    texts, runs = [text for text, _ in rows], []
    nats = sizes = 0.0
    for text, marks in rows:
        marked = [place for place in range(len(text.encode())) if marks[place % 45]]
        runs.append([(place, place + 1) for place in marked])
        begin, words = 0, words_of(text)
        of_words = model.nats([text])[0]
        for place, word in enumerate(words):
            end = begin + len(word.encode())
            if not set(range(begin, end)) & set(marked):
                nats, sizes = nats + of_words[place], sizes + end - begin
                nats += of_words[-1] if place == len(words) - 1 else 0.0
            begin = end
    everything, clean = ngram_figures(model, texts, runs)
    total = sum(float(model.nats([text])[0].sum()) for text in texts)
    assert everything == pytest.approx(total / math.log(2) / len("".join(texts).encode()))
    assert clean == (pytest.approx(nats / math.log(2) / sizes) if sizes else None)


def test_what_training_holds_costs_less() -> None:
    model = WordModel(TRAINING)
    seen, _ = ngram_figures(model, [TRAINING[0]], [[]])
    unseen, _ = ngram_figures(model, ["Quite other words stand here, and none of them twice."], [[]])
    assert seen < 1.5 < unseen


def test_sizes_are_those_of_the_tools() -> None:
    text = "".join(f"line {number * number}\n" for number in range(3000)).encode()
    sizes = compressed_sizes(text)
    assert sizes["bzip2 -9"] == len(bz2.compress(text)) < sizes["gzip -9"]
    assert lzma.decompress(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)) == text
    for command in ("gzip -9", "bzip2 -9", XZ):
        if shutil.which(command.split()[0]):
            packed = subprocess.run([*command.split(), "-c"], input=text, capture_output=True, check=True).stdout
            assert abs(len(packed) - sizes[command]) <= 24, command  # versions of the tools differ by bytes


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "dedup"
    blank = dict.fromkeys(DEDUPED.names, "") | {"language_score": 0.0, "placeholders": 0}
    rows: list[dict[str, Any]] = [
        blank | {"id": f"h{n}", "split": "test", "text": text} for n, text in enumerate(HELD_OUT)
    ]
    rows.append(blank | {"id": "v", "split": "validation", "text": "looked at while choosing"})
    write_table(pa.Table.from_pylist(rows[:1], DEDUPED), folder / "00000.parquet")
    write_table(pa.Table.from_pylist(rows[1:], DEDUPED), folder / "00001.parquet")
    sample = [{"place": n / 10, "id": f"t{n}", "text": text} for n, text in enumerate(TRAINING)]
    write_table(pa.Table.from_pylist(sample, SAMPLE), folder / "sample" / "00000.parquet")
    runs = [{"id": "h0", "begin": 0, "end": 18}]
    write_table(pa.Table.from_pylist(runs, COPIED_RUNS), folder / "copied" / "00000.parquet")
    return folder


def judged_by(folder: Path, ids: list[str]) -> Path:
    write_table(pa.table({"id": ids}), folder / "documents.parquet")
    return folder / "documents.parquet"


def test_without_a_test_document_there_are_no_figures(corpus: Path, tmp_path: Path) -> None:
    assert baselines(corpus, judged_by(tmp_path, ["v", "h1"]), tmp_path / "out") == {"documents": 1, "bytes": 0}


def test_figures_are_of_the_test_documents_that_were_judged(corpus: Path, tmp_path: Path) -> None:
    figures = baselines(corpus, judged_by(tmp_path, ["v", "h2", "h0"]), tmp_path / "out")
    texts = [HELD_OUT[0], HELD_OUT[2]]
    encoded = "".join(texts).encode()
    everything, clean = ngram_figures(WordModel(TRAINING), texts, [[(0, 18)], []])
    assert figures["documents"] == 2
    assert figures["bytes"] == len(encoded)
    assert figures["training_bytes"] == len("".join(TRAINING).encode())
    assert figures["bits_per_byte"][XZ] == round(8 * compressed_sizes(encoded)[XZ] / len(encoded), 6)
    assert figures["bits_per_byte"][NGRAM] == round(everything, 6)
    assert clean is not None
    assert figures["bits_per_byte_clean"] == {NGRAM: round(clean, 6)}
    assert clean > everything


def test_the_model_learns_from_a_bounded_part(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRAINING_BYTES", len(TRAINING[0]) + 3)
    assert baselines(corpus, judged_by(tmp_path, ["h0"]), tmp_path / "out")["training_bytes"] == len(TRAINING[0])


def test_families_that_are_judged_alike_share_the_work(corpus: Path, tmp_path: Path) -> None:
    ran: list[tuple[Any, ...]] = []

    def map_in_turn(
        function: Callable[..., Any],
        jobs: Sequence[tuple[Any, ...]],
        label: str,
        inline_bytes: int | None = None,
        apart: bool = False,
    ) -> list[Any]:
        ran.extend(jobs)
        return [function(*job) for job in jobs]

    store = Store(Cache(tmp_path / "cache"), "code", executor=map_in_turn)
    first = baselines(corpus, judged_by(tmp_path / "causal", ["h0", "h2"]), tmp_path / "causal", store)
    assert baselines(corpus, judged_by(tmp_path / "masked", ["h2", "h0"]), tmp_path / "masked", store) == first
    assert len(ran) == 1
