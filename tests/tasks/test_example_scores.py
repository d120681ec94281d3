"""scores: two models are compared on the examples that both were asked, and nothing that an example says is kept."""

from pathlib import Path

import numpy as np

from privllm.core.tables import write_table
from privllm.stats.scores import Score, mean_of
from privllm.tasks.example_scores import shared, table_of
from privllm.tasks.formats import Classified, Example


def example(number: int, text: str = "") -> Example:
    return Example(number, f"e{number}", f"page {number // 2}", "test", Classified(text or f"secret {number}", "a"))


def test_only_what_both_were_asked_is_compared(tmp_path: Path) -> None:
    loss = Score(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0, 2.0, 2.0]))
    old = table_of({"accuracy": mean_of([1.0, 0.0, 1.0, 1.0]), "loss": loss}, [], [example(i) for i in range(4)])
    new = table_of({"accuracy": mean_of([0.0, 1.0, 1.0])}, [], [example(2), example(1), example(3, "edited")])
    for name, table in (("old", old), ("new", new)):
        write_table(table, tmp_path / name)
    found = shared(tmp_path / "old", tmp_path / "new")
    assert list(found) == ["accuracy"]
    assert found["accuracy"].old.over.tolist() == [1.0, 0.0]
    assert found["accuracy"].new.over.tolist() == [0.0, 1.0]
    assert len(set(found["accuracy"].groups)) == 2


def test_a_score_of_answers_is_of_those_that_were_answered() -> None:
    examples = [example(i) for i in range(4)]
    table = table_of({"rouge_l": mean_of([0.5, 0.7]), "loss": mean_of([1.0, 2.0, 3.0, 4.0])}, [0, 3], examples)
    answers = [row for row in table.to_pylist() if row["score"] == "rouge_l"]
    losses = [row for row in table.to_pylist() if row["score"] == "loss"]
    assert [row["example"] for row in answers] == [losses[0]["example"], losses[3]["example"]]


def test_nothing_that_was_said_is_kept(tmp_path: Path) -> None:
    text = str(table_of({"accuracy": mean_of([1.0])}, [], [example(1)]).to_pylist())
    assert "secret" not in text
    assert "page" not in text
