"""A report says which parameters its stage has read, and what dvc.lock records is compared with that."""

import json
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.engine.params_guard import (
    KEY,
    digest_of_parameters,
    record_parameters,
    report_in,
    require_parameters_as_read,
    stages_with_other_parameters,
)

PIPELINE = """
stages:
  collect: {cmd: c, deps: [data/sources], outs: [data/collect], params: [collect], plots: [reports/collect.json: {cache: false}]}
  clean: {cmd: c, deps: [data/collect], outs: [data/clean], params: [clean], plots: [reports/clean.json: {cache: false}]}
  own: {cmd: c, deps: [data/clean], outs: [data/own]}
  other: {cmd: c, deps: [data/base], outs: [data/other]}
"""
LOCK = """
schema: '2.0'
stages:
  collect: {cmd: c, params: {params.yaml: {collect: {limit: 64}}}, outs: [{path: reports/collect.json}]}
  clean:
    cmd: c
    params: {params.yaml: {clean: {rate: 1e-05, words: 20}}}
    outs: [{path: data/clean}, {path: reports/clean.json}, {path: reports/metrics/clean.json}]
  own: {cmd: c, outs: [{path: data/own}]}
"""
COLLECT = {"plots": [{"reports/collect.json": {"cache": False}}]}
CLEAN = {"metrics": ["reports/metrics/clean.json"], "plots": [{"reports/clean.json": {"cache": False}}]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "reports").mkdir()
    for name in ("collect", "clean"):
        (tmp_path / f"reports/{name}.json").write_text('{"documents": 3}')
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "dvc.lock").write_text(LOCK)
    record_parameters(COLLECT, {"collect": {"limit": 64}}, tmp_path)
    record_parameters(CLEAN, {"clean": {"words": 20, "rate": 0.00001}}, tmp_path)
    return tmp_path


def test_what_was_read_is_what_was_recorded(root: Path) -> None:
    assert json.loads((root / "reports/clean.json").read_text())["documents"] == 3
    assert stages_with_other_parameters(root) == []
    require_parameters_as_read("own", root)


def test_a_stage_that_read_another_value_is_named_with_the_command_to_those_after_it(root: Path) -> None:
    record_parameters(CLEAN, {"clean": {"words": 21, "rate": 0.00001}}, root)
    assert stages_with_other_parameters(root) == ["clean"]
    with pytest.raises(UserError, match=r"`clean` had read it.* Run `dvc repro --single-item --force clean`, then"):
        require_parameters_as_read("own", root)
    for stage in ("collect", "clean", "other"):
        require_parameters_as_read(stage, root)


def test_a_stage_that_has_not_run_or_reads_nothing_differs_from_nothing(root: Path) -> None:
    (root / "reports/collect.json").unlink()
    (root / "reports/clean.json").write_text('{"documents": 3}')
    assert stages_with_other_parameters(root) == []
    (root / "dvc.lock").unlink()
    assert stages_with_other_parameters(root) == []
    record_parameters({"outs": ["data/x"]}, {"x": 1}, root)  # a stage without a report
    record_parameters(CLEAN, {}, root)
    assert KEY not in json.loads((root / "reports/clean.json").read_text())


def test_the_report_is_neither_a_metric_nor_the_page() -> None:
    assert report_in(["data/clean", "reports/metrics/clean.json", "reports/clean.json"]) == Path("reports/clean.json")
    assert report_in(["reports/index.html", "data/a.json"]) is None


def test_digests_tell_values_apart_but_not_how_a_number_or_the_order_is_written() -> None:
    alike = [{"a": {"b": 1e-3, "c": [1]}}, {"a": {"c": [1.0], "b": "1e-3"}}, {"a": {"b": 0.001, "c": ["1"]}}]
    assert len({digest_of_parameters(values) for values in alike}) == 1
    apart = [
        {"a": 1},
        {"a": 2},
        {"b": 1},
        {"a": True},
        {"a": None},
        {"a": "x"},
        {"a": ["x"]},
        {"a": {"x": 1}},
        {"a": [1, 2]},
        {"a": [2, 1]},
    ]
    assert len({digest_of_parameters(values) for values in apart}) == len(apart)
