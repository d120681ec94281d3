"""Losses as `dvc plots` and `dvc metrics` read them."""

import json
import subprocess
from pathlib import Path

import pytest

from privllm.report.charts import read_curve
from privllm.train.loss_files import LossFiles
from tests.workshop import environment

MEASURED = [("validation/loss", 0, 3.25), ("train/loss", 10, 0.1 + 0.2), ("validation/loss", 10, 1e-07)]


def text_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()
    }


def test_a_table_for_each_metric_and_the_latest_of_all(tmp_path: Path) -> None:
    files = LossFiles(tmp_path)
    for measurement in MEASURED:
        files.add(*measurement)
    assert text_of(tmp_path) == {
        "metrics.json": '{\n  "step": 10,\n  "train": {\n    "loss": 0.30000000000000004\n  },\n'
        '  "validation": {\n    "loss": 1e-07\n  }\n}\n',
        "plots/metrics/train/loss.tsv": "step\tloss\n10\t0.30000000000000004\n",
        "plots/metrics/validation/loss.tsv": "step\tloss\n0\t3.25\n10\t1e-07\n",
    }


def test_begun_anew_it_holds_only_what_it_is_given(tmp_path: Path) -> None:
    """A killed run wrote beyond its checkpoint."""
    whole = LossFiles(tmp_path / "killed")
    for measurement in [*MEASURED, ("train/loss", 20, 9.0), ("other/loss", 20, 9.0)]:
        whole.add(*measurement)
    LossFiles(tmp_path / "killed", MEASURED)
    LossFiles(tmp_path / "whole", MEASURED)
    assert text_of(tmp_path / "killed") == text_of(tmp_path / "whole")
    LossFiles(tmp_path / "killed")
    assert text_of(tmp_path / "killed") == {}


def test_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "start.json").write_text("{}")
    LossFiles(tmp_path, MEASURED)
    assert (tmp_path / "start.json").is_file()


@pytest.mark.slow
def test_dvc_reads_them(tmp_path: Path) -> None:
    files = LossFiles(tmp_path / "live", MEASURED)
    files.add("train/loss", 20, 2.5)
    assert read_curve(tmp_path / "live/plots/metrics/train/loss.tsv") == [(10.0, 0.1 + 0.2), (20.0, 2.5)]
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["dvc", "init", "-q"], cwd=tmp_path, env=environment(), check=True)
    (tmp_path / "dvc.yaml").write_text(
        "metrics: [live/metrics.json]\nplots:\n  - live/plots/metrics: {x: step, y: loss}\n"
    )
    shown = subprocess.run(
        ["dvc", "metrics", "show", "--json"], cwd=tmp_path, env=environment(), check=True, capture_output=True
    )
    metrics = json.loads(shown.stdout)[""]["data"]["live/metrics.json"]["data"]
    assert metrics == {"step": 20, "train": {"loss": 2.5}, "validation": {"loss": 1e-07}}
    plots = subprocess.run(
        ["dvc", "plots", "show", "--json"], cwd=tmp_path, env=environment(), check=True, capture_output=True
    )
    drawn = json.loads(plots.stdout)["data"]
    assert sorted(name.rsplit("metrics/")[-1] for name in drawn) == ["train/loss.tsv", "validation/loss.tsv"]
