"""`dvc exp show` is of use in a terminal of 160 characters: its metrics are few, and their names short. Made-up figures, no build.

It shows every parameter, some 250, and beside so many columns DVC leaves room for nothing where the width is fixed. In its pager the
table is up to 1,024 wide: there the metrics must stand within the first 160. With `--only-changed` the whole table must fit.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from privllm.core.families import TRAITS
from privllm.engine.pipeline import declared_stages
from tests.workshop import ROOT, Workshop

WIDTH = 160
MAIN = {"classification": "accuracy", "tokens": "span_f1", "text2text": "loss", "chat": "loss"}
NAME = "as-long-as-an-experiment"  # `├── 3f2a1b9 [unled-wino]` has 24 characters too


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    """This pipeline with all its metrics, on a branch whose name is as wide as an experiment is."""
    shop = Workshop(tmp_path)
    for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvc/config"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    shop.run("git", "init", "-q", "-b", NAME)
    shop.run("git", "config", "user.name", "Test")
    shop.run("git", "config", "user.email", "test@localhost")
    for path, figures in expected().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(json.dumps(figures))
    shop.commit("built")
    return shop


def expected() -> dict[str, dict[str, Any]]:
    """{metrics file: what its stage writes into it}."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    evaluated = {
        f"reports/metrics/evaluate/{name}.json": {TRAITS[name].clean_bits: 2.123456} for name in params["families"]
    }
    tasks = params["finetune"]["tasks"].items()
    tuned = {f"reports/metrics/finetune/{name}.json": {name: {MAIN[task["kind"]]: 0.123456}} for name, task in tasks}
    return evaluated | tuned


def test_metrics_are_the_few_that_are_meant() -> None:
    declared = [next(iter(entry)) for stage in declared_stages(ROOT).values() for entry in stage.get("metrics", [])]
    assert sorted(declared) == sorted(expected())


def test_dvcs_run_cache_knows_what_every_stage_makes() -> None:
    """Of a stage with an output in git (`cache: false`) it keeps nothing, unless that is a metric or a plot."""
    for name, stage in declared_stages(ROOT).items():
        assert all(isinstance(out, str) for out in stage["outs"]), name


def test_experiments_and_all_their_metrics_stand_on_the_first_screen(shop: Workshop) -> None:
    said = [line[:WIDTH] for line in shop.run("dvc", "exp", "show").stdout.splitlines()]
    assert [name for name in names() if name not in said[1].split()] == []
    assert sum(NAME in line for line in said) == 1
    assert sum(line.count("2.1235") for line in said) == 2 * 3, "of three families, in the workspace and in the commit"


def test_what_differs_fits_as_a_whole(shop: Workshop) -> None:
    for path, figures in expected().items():
        (shop.root / path).write_text(json.dumps(figures).replace("2.123456", "1.5").replace("0.123456", "1.5"))
    for key in ("pretrain.causal.learning_rate", "finetune.tasks.gaps.learning_rate"):
        shop.set(key, 0.25)
    said = shop.run("dvc", "exp", "show", "--no-pager", "--only-changed", COLUMNS=str(WIDTH)).stdout.splitlines()
    assert max(map(len, said)) <= WIDTH
    assert [name for name in names() if name not in said[1].split()] == []
    assert sum(line.count("1.5") for line in said) == len(names())


def names() -> list[str]:
    """Return what DVC calls them: a family's figure has a name of its own, a task's begins with the task."""
    found = []
    for figures in expected().values():
        for name, value in figures.items():
            found += [f"{name}.{figure}" for figure in value] if isinstance(value, dict) else [name]
    return found
