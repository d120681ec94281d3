"""What a model says is looked through for training text and personal data."""

from pathlib import Path

import numpy as np
import pytest

from privllm.core.tables import read_table, shards_of
from privllm.evaluate import leaks
from privllm.evaluate.leaks import OWN_TEXTS, TEXTS, draws_of, figures, find_leaks, runs_of
from privllm.evaluate.recipe import EvaluateInputs
from privllm.models.loading import load
from privllm.models.sample_batch import Draws
from privllm.tokens.special_ids import special_ids

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def test_runs_are_of_thirteen_words() -> None:
    assert [len(runs) for runs in runs_of([LONG, "one two three", LONG.rpartition(" ")[0], ""])] == [2, 0, 1, 0]


def test_the_share_is_of_all_runs() -> None:
    (runs,) = runs_of([LONG])
    clean, half = figures([LONG, LONG.upper()], np.zeros(0, "<u8")), figures([LONG, LONG], runs[:1])
    assert (clean["copied_runs"], half["copied_runs"], half["runs"]) == (0.0, 0.5, 4)
    assert figures([LONG.upper()], runs)["copied_runs"] == 1.0, "case does not hide a copy"
    assert half["copied_runs_interval"] is None, "two texts are too few"
    assert figures(["short"] * 20, runs)["runs"] == 0


def test_personal_data_count_by_text() -> None:
    found = figures(
        ["write to a.b@corp.example.com or c@d.org", "nothing here", "call +49 30 901820 now", "x"], np.zeros(0, "<u8")
    )
    assert found["personal_data"] == 0.5
    assert found["personal_data_found"] | {"emails": 2, "phones": 1} == found["personal_data_found"]
    many = figures(["a.b@corp.example.com"] + ["x"] * 19, np.zeros(0, "<u8"))
    low, high = many["personal_data_interval"]
    assert low < 0.05 < high


def test_training_text_that_the_model_says_is_found(
    inputs: EvaluateInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that says a training document, a held-out one, and one of nobody's."""
    texts: dict[str, str] = {}
    for shard in shards_of(inputs.documents):
        for row in read_table(shard, ["text", "split"]).to_pylist():
            texts.setdefault(row["split"], " ".join(row["text"].split()))
    said = [texts["train"], LONG]
    monkeypatch.setattr(leaks, "draw", lambda *given: iter([[7, 8], [9, 0]]))
    monkeypatch.setattr(leaks.Encoder, "decode", lambda self, tokens: said.pop(0))
    special = special_ids(inputs.tokenizer)
    found = find_leaks(Draws(2, 8), "causal", inputs.model, inputs.tokenizer, special, inputs.documents, tmp_path)
    runs = runs_of([texts["train"], LONG])
    assert found["copied_runs"] == pytest.approx(len(runs[0]) / (len(runs[0]) + len(runs[1])), abs=1e-6)
    assert found["texts"] == 2


def test_what_a_model_draws_is_kept_as_text_and_the_same_again(inputs: EvaluateInputs, tmp_path: Path) -> None:
    special = special_ids(inputs.tokenizer)
    draws = draws_of(load("causal", inputs.model).config, 6, 64, 0)
    assert draws.tokens == 15, "the context is 16"
    results = []
    for name in ("a", "b"):
        results.append(
            find_leaks(draws, "causal", inputs.model, inputs.tokenizer, special, inputs.documents, tmp_path / name)
        )
    assert results[0] == results[1]
    table = read_table(tmp_path / "a" / TEXTS)
    assert (table.schema, len(table)) == (OWN_TEXTS, 6)
    assert (tmp_path / "a" / TEXTS).read_bytes() == (tmp_path / "b" / TEXTS).read_bytes()
