import json
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.engine.pipeline import declared_stages
from privllm.engine.source_guard import (
    require_sources_as_read,
    saved_too_late,
    sources_as_read,
    sources_as_recorded,
    stages_after,
)
from tests.workshop import ROOT

LOCK = """
schema: '2.0'
stages:
  fingerprint: {cmd: x, deps: [{path: privllm, md5: 00.dir}]}
  collect:
    cmd: y
    deps:
    - {path: data/fingerprint/collect.json, md5: '11'}
    - {path: data/sources, hash: md5, md5: RECORDED.dir, size: 3, nfiles: 1}
"""
PIPELINE = """
stages:
  collect: {cmd: c, deps: [data/sources], outs: [data/collect], metrics: [reports/collect.json: {cache: false}]}
  clean: {cmd: c, deps: [data/collect], outs: [data/clean]}
  sample: {cmd: c, deps: [data/clean/00000.parquet], outs: [data/sample]}
  own: {cmd: c, deps: [reports], outs: [data/own]}
  start: {cmd: c, deps: [data/base], outs: [data/start]}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data/collect").mkdir(parents=True)
    (tmp_path / "data/collect/sources.json").write_text('{"md5": "RECORDED.dir"}')
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    return tmp_path


def test_what_was_read_is_what_was_recorded(root: Path) -> None:
    assert sources_as_read(root) == sources_as_recorded(root) == "RECORDED.dir"
    assert not saved_too_late(root)
    require_sources_as_read("clean", root)


def test_every_stage_after_collect_refuses_other_sources_and_names_the_command(root: Path) -> None:
    (root / "data/collect/sources.json").write_text('{"md5": "READ.dir"}')
    assert saved_too_late(root)
    for stage in ("clean", "sample", "own"):
        with pytest.raises(UserError, match="dvc repro --force collect"):
            require_sources_as_read(stage, root)
    for stage in ("fingerprint", "collect", "start"):
        require_sources_as_read(stage, root)


@pytest.mark.parametrize("name", ["dvc.lock", "data/collect/sources.json"])
@pytest.mark.parametrize("text", [None, "", "{", "[]", "stages: {collect: 3}", json.dumps({"md5": ""})])
def test_nothing_is_said_where_nothing_is_known(root: Path, name: str, text: str | None) -> None:
    (root / name).unlink()
    if text is not None:
        (root / name).write_text(text)
    require_sources_as_read("clean", root)


def test_in_our_pipeline_all_but_few_stages_come_after_collect() -> None:
    stages = declared_stages(ROOT)
    independent = {name.partition("@")[0] for name in set(stages) - stages_after("collect", stages)}
    assert independent == {"fingerprint", "collect", "start", "feedback"}
