"""Stages of a matrix and a foreach, written out as DVC writes them out."""

import subprocess
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.core.pipeline import declared_stage, declared_stages

DVC_YAML = """
stages:
  plain:
    cmd: python -m stages.plain in out
    deps: [in]
    outs: [out]
  many:
    matrix:
      family: ${families}
    cmd: python -m stages.many out data/many/${item.family}
    deps: [out]
    params: ["many.${item.family}"]
    outs: ["data/many/${item.family}"]
  each:
    foreach: ${tasks.all}
    do:
      cmd: python -m stages.each data/many/${item.family} ${key}.json
      deps: ["data/many/${item.family}"]
      outs: ["${key}.json": {cache: false}]
"""
PARAMS = "families: [a, b]\nmany: {a: {x: 1}, b: {x: 2}}\ntasks: {all: {one: {family: a}, two: {family: b}}}\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "in").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_as_dvc_writes_them_out(root: Path) -> None:
    from dvc.repo import Repo

    subprocess.run(["dvc", "init", "-q", "--no-scm"], cwd=root, check=True)
    with Repo(str(root)) as repo:
        expected = {
            stage.addressing: (stage.cmd, {dep.def_path for dep in stage.deps} - {"params.yaml"}, {out.def_path for out in stage.outs})
            for stage in repo.index.stages
        }
    found = {
        name: (one["cmd"], set(one["deps"]), {out if isinstance(out, str) else next(iter(out)) for out in one["outs"]})
        for name, one in declared_stages().items()
    }
    assert found == expected
    assert list(found) == ["plain", "many@a", "many@b", "each@one", "each@two"]


def test_a_command_line_tells_which_stage_it_is(root: Path) -> None:
    name, declared = declared_stage("many", ["out", "data/many/b"])
    assert (name, declared["params"]) == ("many@b", ["many.b"])
    assert declared_stage("plain", ["elsewhere"])[0] == "plain"  # by hand, with other paths
    assert declared_stage("many", ["elsewhere"]) == ("many", {})
    assert declared_stage("nobody", []) == ("nobody", {})


def test_no_list_no_stages(root: Path) -> None:
    (root / "params.yaml").write_text(PARAMS.replace("families: [a, b]", "families: []"))
    assert "many@a" not in declared_stages()
    (root / "params.yaml").write_text(PARAMS.replace("families: [a, b]\n", ""))
    with pytest.raises(UserError, match="`families`"):
        declared_stages()


def test_without_a_pipeline(tmp_path: Path) -> None:
    assert declared_stages(tmp_path) == {}
