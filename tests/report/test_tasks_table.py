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
