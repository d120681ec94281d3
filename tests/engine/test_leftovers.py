from pathlib import Path

from privllm.engine.leftovers import remove_leftovers

DVC_YAML = """
stages:
  many:
    matrix:
      family: ${families}
    cmd: python -m stages.many data/many/${item.family}
    outs: ["data/many/${item.family}"]
    metrics: ["reports/many/${item.family}.json": {cache: false}]
  plain:
    cmd: python -m stages.plain
    outs: [data/plain]
"""


def test_what_no_stage_declares_any_more_goes_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    (tmp_path / "params.yaml").write_text("families: [a]\n")
    for path in (
        "data/many/a/x",
        "data/many/b/x/y",
        "reports/many/a.json",
        "reports/many/b.json",
        "data/plain/x",
        "data/many/.gitignore",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    assert remove_leftovers(tmp_path) == ["data/many/b", "reports/many/b.json"]
    assert remove_leftovers(tmp_path) == []
    assert {path.name for path in (tmp_path / "data/many").iterdir()} == {"a", ".gitignore"}
    (tmp_path / "params.yaml").write_text("families: []\n")
    assert remove_leftovers(tmp_path) == ["data/many/a", "reports/many/a.json"]
    assert (tmp_path / "data/plain/x").exists()


def test_without_a_pipeline_nothing_happens(tmp_path: Path) -> None:
    assert remove_leftovers(tmp_path) == []


def test_what_is_the_users_own_stays(tmp_path: Path) -> None:
    """The outputs of their own matrix, and what their own stage makes beside ours."""
    own = """
  theirs:
    matrix: {x: [1], y: [2]}
    cmd: python mine.py
    outs: ["data/theirs/${item.x}"]
  beside:
    cmd: python mine.py
    wdir: data
    outs: [many/theirs]
"""
    (tmp_path / "dvc.yaml").write_text(DVC_YAML + own)
    (tmp_path / "params.yaml").write_text("families: [a]\n")
    for path in ("data/many/a/x", "data/many/b/x", "data/many/theirs/x", "data/theirs/old/x", "data/theirs/1/x"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    assert remove_leftovers(tmp_path) == ["data/many/b"]
