"""Stages of a matrix and a foreach, written out as DVC writes them out."""

import subprocess
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.engine import dvc_resolver, pipeline
from privllm.engine.pipeline import declared_stage, declared_stages, expand_stages, look_up, written_stages

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

GRID = """
  grid:
    matrix:
      family: ${families}
      size: [1, 2]
    cmd: python mine.py ${item.family} ${item.size} ${key}
    outs: ["grid/${item.family}/${item.size}"]
"""
# What DVC takes and only DVC can write out, or what is no stage.
OWN = {
    "two keys": GRID,
    "a key of mappings": """
  own:
    matrix:
      one: [{x: 1}, {x: 2}]
    cmd: echo ${item.one.x}
    outs: ["own/${item.one.x}"]
""",
    "vars": """
  own:
    foreach: ${mine.list}
    do:
      cmd: echo ${item}
      deps: ["${mine.dep}"]
      outs: ["own/${item}"]
vars:
  - mine: {list: [p, q], dep: in}
  - more.yaml
""",
    "vars of a stage": """
  own:
    vars: [{x: in}]
    cmd: cat ${x} ${other}
    deps: ["${x}"]
    outs: [own]
vars: [more.yaml]
""",
    "an index": """
  own:
    cmd: echo ${families[1]}
    outs: ["own/${families[1]}"]
""",
    "an escape": """
  own:
    cmd: echo \\${HOME} $HOME $${families[0]}
    outs: [own]
""",
    "a foreach over a list": """
  own:
    foreach: [1, true, x]
    do: {cmd: "echo ${item}", outs: ["own/${item}"]}
""",
    "a foreach over mappings": """
  own:
    foreach: [{x: 1}, {x: 2}]
    do: {cmd: "echo ${item.x}", outs: ["own/${item.x}"]}
""",
    "a mapping in a command": """
  own:
    cmd: train ${many.a}
    outs: [own]
""",
    "a wdir": """
  own:
    wdir: sub
    cmd: cat ../in
    deps: [../in]
    params: [here.yaml: [a]]
    outs: [x, y: {cache: false}]
""",
    "other files of parameters": """
  own:
    cmd: cat in
    deps: [in]
    params:
      - many.a.x
      - more.yaml: [other]
      - sub/here.yaml:
    outs: [own]
""",
    "a list of commands": """
  own:
    frozen: true
    cmd:
      - echo a
      - |
        echo b
        echo 'c
        d'
    outs: [own]
""",
    "what is no stage": """
artifacts:
  model: {path: out, type: model}
plots:
  - out: {x: step}
metrics: [m.json]
params: [more.yaml]
""",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "more.yaml").write_text("other: 3\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/here.yaml").write_text("a: 1\n")
    (tmp_path / "in").write_text("")
    monkeypatch.chdir(tmp_path)
    subprocess.run(["dvc", "init", "-q", "--no-scm"], cwd=tmp_path, check=True)
    return tmp_path


def as_dvc_says(root: Path) -> dict[str, tuple[object, set[str], set[str]]]:
    """{stage: (command, deps, outs)}, paths from the root."""
    from dvc.repo import Repo

    def paths(places: list) -> set[str]:
        return {str(Path(place.fs_path).relative_to(root)) for place in places} - {"params.yaml"}

    with Repo(str(root)) as repo:
        return {stage.addressing: (stage.cmd, paths(stage.deps), paths(stage.outs)) for stage in repo.index.stages}


def as_we_say() -> dict[str, tuple[object, set[str], set[str]]]:
    return {
        name: (one["cmd"], set(one.get("deps", [])), set(pipeline.outputs_of(one)))
        for name, one in declared_stages().items()
    }


def test_as_dvc_writes_them_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "RESOLVER", "privllm.no_such_module")  # what is ours takes no DVC
    assert as_we_say() == as_dvc_says(root)
    assert list(declared_stages()) == ["plain", "many@a", "many@b", "each@one", "each@two"]


@pytest.mark.slow
@pytest.mark.parametrize("own", OWN)
def test_whatever_dvc_accepts_in_other_stages_ours_run(root: Path, own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "dvc.yaml").write_text(DVC_YAML + OWN[own])
    assert as_we_say() == as_dvc_says(root)
    monkeypatch.setattr(pipeline, "RESOLVER", "privllm.no_such_module")
    assert declared_stage("many", ["out", "data/many/b"])[0] == "many@b"  # it costs ours nothing
    assert {"plain", "many@a", "each@two"} <= set(
        expand_stages(written_stages(root), {"families": ["a"], "tasks": {"all": {"two": {"family": "a"}}}})
    )


@pytest.mark.slow
def test_what_dvc_refuses_is_said_in_its_words(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "dvc.yaml").write_text(DVC_YAML + "  own:\n    cmd: echo ${nobody.knows}\n")
    assert dvc_resolver.main() == 1
    assert "'nobody.knows'" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"DVC cannot read dvc\.yaml: .*'nobody\.knows'"):
        declared_stages()
    assert declared_stage("plain", ["in", "out"])[0] == "plain"


@pytest.mark.slow
def test_our_own_stages_may_be_written_otherwise_too(root: Path) -> None:
    text = DVC_YAML.replace("${tasks.all}", "${mine}") + "vars: [{mine: {three: {family: a}}}]\n"
    text = text.replace(
        "    cmd: python -m stages.plain in out\n",
        "    cmd:\n      - echo begin\n      - |\n        nice python -m stages.plain \\\n          in out\n",
    )
    (root / "dvc.yaml").write_text(
        text.replace('["many.${item.family}"]', '["many.${item.family}", more.yaml: [other]]')
    )
    assert as_we_say() == as_dvc_says(root)
    assert declared_stage("each", ["data/many/a", "three.json"])[0] == "each@three"
    assert declared_stage("plain", ["in", "out"])[1]["deps"] == ["in"]
    found = declared_stage("many", ["out", "data/many/a"])[1]
    assert (found["deps"], found["params"]) == (["out", "more.yaml"], ["many.a"])


def test_a_second_stage_of_one_of_our_modules_is_told_apart(root: Path) -> None:
    (root / "dvc.yaml").write_text(
        DVC_YAML + "  second:\n    cmd: python -m stages.plain other out2\n    deps: [other]\n    outs: [out2]\n"
    )
    assert declared_stage("plain", ["other", "out2"])[0] == "second"
    assert declared_stage("plain", ["in", "out"])[0] == "plain"


def test_a_command_line_tells_which_stage_it_is(root: Path) -> None:
    name, declared = declared_stage("many", ["out", "data/many/b"])
    assert (name, declared["params"]) == ("many@b", ["many.b"])
    assert declared_stage("plain", ["elsewhere"])[0] == "plain"  # by hand, with other paths
    assert declared_stage("many", ["elsewhere"]) == ("many", {})
    assert declared_stage("nobody", []) == ("nobody", {})


@pytest.mark.slow
def test_no_list_no_stages(root: Path) -> None:
    (root / "params.yaml").write_text(PARAMS.replace("families: [a, b]", "families: []"))
    assert "many@a" not in declared_stages()
    (root / "params.yaml").write_text(PARAMS.replace("families: [a, b]\n", ""))
    with pytest.raises(UserError, match=r"DVC cannot read dvc.yaml: .*'stages\.many\.matrix'.*'families'"):
        declared_stages()


def test_what_is_no_yaml_is_said(root: Path) -> None:
    (root / "dvc.yaml").write_text("stages: [")
    with pytest.raises(UserError, match=r"dvc\.yaml is not valid YAML.*line 1"):
        declared_stages()


def test_names_lead_into_lists(root: Path) -> None:
    assert look_up("a[1].b", {"a": [0, {"b": 2}]}) == 2
    for wrong in ("a[2]", "a.x", "a[1].c"):
        with pytest.raises(UserError, match="does not have"):
            look_up(wrong, {"a": [0, {"b": 2}]})


def test_without_a_pipeline(tmp_path: Path) -> None:
    assert declared_stages(tmp_path) == {}
