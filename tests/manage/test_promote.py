"""promote: a passed, committed, whole build becomes the incumbent, its tag names the commit that built it, and nothing else does."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from privllm.cli.app import app
from privllm.core.errors import UserError
from privllm.core.records import CLUSTERS
from privllm.core.report import write_json
from privllm.core.tables import read_table, write_table
from privllm.manage.promote import PARTS, next_version, promote, releases, versions
from privllm.tokens.vocabulary_sample import SAMPLE
from tests.workshop import ROOT, Workshop

SPOT = {"kind": "source", "slice": "mail", "ratio": 1.3}
OUTS = ("align", "dedup", "evaluate", "pack", "start", "tokenizer", "validate")
PIPELINE = f"""
stages:
  make:
    cmd: cp -r made/data/. data && cp -r made/reports/. reports
    deps: [made]
    outs: [{", ".join(f"data/{out}" for out in OUTS)}]
    metrics: [reports/evaluate/causal.json: {{cache: false}}, reports/tokenizer.json: {{cache: false}}, reports/gate.json: {{cache: false}}]
"""


def model(root: Path, bits: float, passed: bool = True, incumbent: str = "") -> None:
    """What the stage will make."""
    data, reports = root / "made/data", root / "made/reports"
    write_json(data / "align/causal/config.json", {"model_type": "qwen3"})
    (data / "align/causal/model.safetensors").write_bytes(f"weights {bits}".encode())
    scores = pa.table({"id": ["a", "b", "v"], "source": ["secret/a.txt", "b.txt", "v.txt"], "bytes": [10, 20, 30]})
    scores = scores.append_column("split", pa.array(["test", "test", "validation"]))
    write_table(scores, data / "evaluate/causal/documents.parquet")
    write_json(data / "tokenizer/tokenizer.json", {})
    splits = (("a", "test"), ("b", "test"), ("c", "train"))
    kept = [{"id": name, "cluster": name, "split": split} for name, split in splits]
    write_table(pa.Table.from_pylist(kept), data / "dedup/00000.parquet")
    names = [*"abc", "copy of c", "like a and c"]
    reasons = ["", "", "", "exact", "other_side"]
    clusters = pa.table(
        [names, [f"text of {name}" for name in names], [*"abc", "c", "c"], [not reason for reason in reasons], reasons],
        schema=CLUSTERS,
    )
    write_table(clusters, data / "dedup/clusters/clusters.parquet")
    write_table(pa.Table.from_pylist([], SAMPLE), data / "dedup/sample/00000.parquet")
    write_json(reports / "tokenizer.json", {"start": "scratch", "bytes_per_token": 4.0})
    write_json(data / "validate/statistics.json", {"documents": 2})
    write_json(data / "start/causal/start.json", {})
    packed = [{"id": name, "digest": f"digest {name}", "split": split} for name, split in splits]
    write_table(pa.Table.from_pylist(packed), data / "pack/documents/00000.parquet")
    write_json(
        reports / "evaluate/causal.json",
        {"bits_per_byte": 9.0, "weak_spots": [SPOT], "test": {"bits_per_byte_clean": bits}},
    )
    figures = {"causal.preferences": {"incumbent": 0.5, "candidate": 0.75}} if incumbent else {}
    write_json(reports / "gate.json", {"passed": passed, "incumbent": incumbent, "figures": figures})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("promote")
    shop = Workshop(root)
    for folder in ("data/promoted/model", "data/promoted/sides", "data/vocabulary", "reports"):
        (root / folder).mkdir(parents=True)
    for note in ("data/promoted/model/.gitignore", "data/promoted/sides/.gitignore", "data/vocabulary/.gitignore"):
        shutil.copyfile(ROOT / note, root / note)
    write_json(root / "data/promoted/statistics.json", {})
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "params.yaml").write_text("{}")
    model(root, 2.5)
    shop.run("git", "init", "-q", "-b", "main")
    shop.run("git", "config", "user.name", "Test")
    shop.run("git", "config", "user.email", "test@localhost")
    shop.run("dvc", "init", "-q")
    shop.repro()
    shop.commit("build")
    return root


@pytest.fixture
def shop(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    shutil.copytree(built, tmp_path / "repository")
    monkeypatch.chdir(tmp_path / "repository")
    return Workshop(tmp_path / "repository")


def test_the_first_promotion(shop: Workshop) -> None:
    head = shop.run("git", "rev-parse", "HEAD").stdout.strip()
    said: list[str] = []
    assert promote(shop.root, "minor", said.append) == "privllm@v1.0.0"
    assert shop.run("git", "rev-parse", "privllm@v1.0.0^{commit}").stdout.strip() == head
    incumbent = shop.root / "data/promoted/model/incumbent"
    assert sorted(str(path.relative_to(incumbent)) for path in incumbent.rglob("*") if path.is_file()) == [
        "causal/config.json",
        "causal/model.safetensors",
        "documents.parquet",
        "incumbent.json",
        "judged/causal.parquet",
        "tokenizer/tokenizer.json",
    ]
    assert read_table(incumbent / "judged/causal.parquet").column_names == ["id", "bytes"], (
        "names of documents stay behind"
    )
    assert json.loads((incumbent / "incumbent.json").read_text())["figures"] == {"causal.bits_per_byte_clean": 2.5}
    assert json.loads((shop.root / "data/promoted/statistics.json").read_text()) == {"documents": 2}
    staged = shop.run("git", "diff", "--cached", "--name-only").stdout.split()
    assert read_table(incumbent / "documents.parquet").to_pylist() == [{"id": "c", "digest": "digest c"}]
    assert staged.pop() == "data/vocabulary/kept.dvc"
    assert (shop.root / "data/vocabulary/kept/tokenizer.json").read_text() == "{}\n"
    names = ("model/incumbent.dvc", "sides/sides.parquet.dvc", "statistics.json", "weak_spots.json")
    sides = read_table(shop.root / "data/promoted/sides/sides.parquet").to_pylist()
    assert {row["id"]: row["split"] for row in sides} == {"a": "test", "b": "test", "c": "train", "copy of c": "train"}
    assert staged == [f"data/promoted/{name}" for name in names]
    assert json.loads((shop.root / "data/promoted/weak_spots.json").read_text()) == {"causal": [SPOT]}
    shop.commit("Promote")
    assert shop.run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."
    assert "git push --tags" in said[-1]


def test_a_second_one_and_the_list(shop: Workshop) -> None:
    promote(shop.root, "minor", print)
    shop.commit("Promote")
    model(shop.root, 2.25, incumbent="privllm@v1.0.0")
    shop.repro()
    shop.commit("better")
    assert promote(shop.root, "patch", print) == "privllm@v1.0.1"
    newest, oldest = releases(shop.root)
    assert (newest.tag, newest.incumbent, newest.figures) == (
        "privllm@v1.0.1",
        True,
        {"causal.bits_per_byte_clean": 2.25, "causal.preferences": 0.75},
    )
    assert (oldest.tag, oldest.incumbent, oldest.figures) == (
        "privllm@v1.0.0",
        False,
        {"causal.bits_per_byte_clean": 2.5},
    )
    said = CliRunner().invoke(app, ["models"]).stdout.splitlines()
    assert [line.split()[:2] for line in said[1:]] == [["*", "privllm@v1.0.1"], ["privllm@v1.0.0", oldest.commit[:9]]]
    assert json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)[0]["tag"] == "privllm@v1.0.1"


def test_what_is_in_the_way_is_said(shop: Workshop) -> None:
    (shop.root / "dvc.yaml").write_text(PIPELINE + "# more\n")
    with pytest.raises(UserError, match=r"changed since the last commit \(dvc\.yaml\)"):
        promote(shop.root, "minor", print)
    shop.run("git", "restore", "dvc.yaml")
    model(shop.root, 3.0, passed=False)
    shop.commit("not built")
    with pytest.raises(UserError, match=r"not up to date \(make\)"):
        promote(shop.root, "minor", print)
    shop.repro()
    shop.commit("failed")
    with pytest.raises(UserError, match="gate was not passed"):
        promote(shop.root, "minor", print)
    assert versions(shop.root) == {}
    assert not (shop.root / "data/promoted/model/incumbent").exists()


def test_a_commit_is_promoted_once(shop: Workshop) -> None:
    promote(shop.root, "minor", print)
    with pytest.raises(UserError, match=r"promoted already, as privllm@v1\.0\.0"):
        promote(shop.root, "minor", print)


def test_a_build_that_git_does_not_know_has_no_tag(shop: Workshop) -> None:
    shop.run("git", "rm", "-q", "--cached", "dvc.lock")
    (shop.root / ".gitignore").write_text("dvc.lock\n")
    shop.commit("without")
    with pytest.raises(UserError, match=r"no dvc\.lock"):
        promote(shop.root, "minor", print)


version = st.tuples(*[st.integers(0, 30)] * 3)


@given(st.lists(version, max_size=6), st.sampled_from(PARTS))
def test_a_version_is_newer_than_all(known: list[tuple[int, int, int]], part: str) -> None:
    made = next_version(known, part)
    assert all(made > other for other in known)
    assert made == (1, 0, 0) or known
