"""Rows of the table of tasks: with a random start, without one, and skipped."""

from pathlib import Path

from privllm.core.report import write_json
from privllm.report.tasks_table import tasks_table


def test_rows(tmp_path: Path) -> None:
    report = {"main": "loss", "family": "causal", "examples": {"train": 9, "test": 3}, "test": {"loss": 1.5, "f1": 0.2}}
    write_json(tmp_path / "a.json", report)
    difference = {"loss": {"difference": -0.5, "low": -0.7, "high": -0.1, "better": True}}
    write_json(tmp_path / "b.json", report | {"random": {"loss": 2.0}, "difference": difference, "transfers": True})
    write_json(tmp_path / "c.json", {"skipped": "too few"})
    (tmp_path / "a").mkdir()
    one, two, three = tasks_table(tmp_path)
    assert (one["pretrained"], one["random"], one["interval"], one["metric"]) == (
        1.5,
        None,
        None,
        "loss (lower is better)",
    )
    assert (two["random"], two["difference"], two["interval"], two["transfers"]) == (2.0, -0.5, (-0.7, -0.1), True)
    assert three == {"task": "c", "skipped": "too few"}
    assert tasks_table(tmp_path / "none") == []


def test_the_model_stands_beside_its_baselines(tmp_path: Path) -> None:
    report = {
        "main": "loss",
        "family": "causal",
        "examples": {"train": 9, "test": 3},
        "test": {"loss": 1.5, "rouge_l": 0.2},
    }
    baselines = {
        "judged_by": "rouge_l",
        "scores": {"lead-3": {"rouge_l": 0.3}},
        "beaten": False,
        "sentences": ["The model loses to the strongest baseline."],
    }
    write_json(tmp_path / "a.json", report | {"baselines": baselines, "transfers": True})
    lossy = {"examples": report["examples"] | {"skipped": 1234}}
    write_json(tmp_path / "b.json", report | lossy | {"baselines": {}, "transfers": False})
    first, second = tasks_table(tmp_path)
    assert (first["judged_by"], first["model"], first["beside"], first["beaten"]) == (
        "rouge l",
        0.2,
        [("lead-3", 0.3)],
        False,
    )
    assert first["sentences"] == [*baselines["sentences"], "Its start is worth more than random weights."]
    assert (second["judged_by"], second["beside"]) == (None, [])
    assert second["sentences"] == [
        "Its start is not shown to be worth more than random weights.",
        "Rows of its file that could not be used: 1,234.",
    ]
