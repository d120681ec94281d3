"""compare: what git and the cache have is what is shown, a difference is called one where it is one, and no gate stays open unseen."""

import json
import math
import os
import random
import shutil
import subprocess
from hashlib import md5
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from privllm.cli.app import app
from privllm.core.errors import UserError
from privllm.core.tables import read_table, write_table
from privllm.engine.cache import Cache
from privllm.manage import git_revisions
from privllm.manage.compare import COMMON, Comparison, compare
from privllm.manage.compare_table import number, table
from privllm.manage.fail_conditions import OPERATORS, broken, parse
from privllm.manage.git_revisions import blobs
from privllm.manage.revision_metrics import WORKSPACE, read_revision

OUT = "data/evaluate/causal"
PIPELINE = """
stages:
  collect: {cmd: c, outs: [data/collect], metrics: [reports/collect.json: {cache: false}]}
  evaluate:
    matrix: {family: "${families}"}
    cmd: e
    outs: ["data/evaluate/${item.family}"]
    metrics: ["reports/evaluate/${item.family}.json": {cache: false}]
"""


def scores(nats: dict[str, float], correct: int = 50, tokens: int = 100, size: int = 400) -> pa.Table:
    """What evaluate's DOCUMENT_SCORES say of documents of equal length."""
    types = pa.schema(
        [
            *(("id", pa.string()), ("split", pa.string()), ("nats", pa.float64()), ("clean_nats", pa.float64())),
            *((name, pa.int64()) for name in ("tokens", "bytes", "correct", "clean_bytes")),
        ]
    )
    same = {"split": "validation", "tokens": tokens, "bytes": size, "correct": correct, "clean_bytes": size // 2}
    rows = [{"id": name, "nats": value, "clean_nats": value / 2, **same} for name, value in nats.items()]
    of_test = {"id": "test", "split": "test", "nats": 9e9, "clean_nats": 9e9, "tokens": 1, "bytes": 1, "clean_bytes": 1}
    return pa.Table.from_pylist([*rows, of_test | {"correct": 0}], types)


def figures(table: pa.Table) -> dict[str, float]:
    rows = [row for row in table.to_pylist() if row["split"] == "validation"]
    total = {name: sum(row[name] for row in rows) for name in ("nats", "tokens", "bytes", "correct")}
    loss = total["nats"] / total["tokens"]
    bits = total["nats"] / math.log(2) / total["bytes"]
    found = {
        "loss": loss,
        "perplexity": math.exp(loss),
        "bits_per_byte": bits,
        "bits_per_byte_clean": bits,
        "accuracy": total["correct"] / total["tokens"],
    }
    return {name: round(value, 6) for name, value in found.items()}


def some(documents: int, mean: float, seed: int = 0) -> dict[str, float]:
    chance = random.Random(seed)
    return {f"d{i:03}": mean + chance.gauss(0, 40) for i in range(documents)}


class Repository:
    """Git, dvc.yaml, dvc.lock, reports and a cache, made by hand."""

    def __init__(self, root: Path) -> None:
        self.root, self.cache = root, Cache(root / ".dvc/cache")

    def start(self) -> None:
        self.git("init", "-q", "-b", "main")
        self.write("dvc.yaml", PIPELINE)
        self.write("params.yaml", "families: [causal]\n")
        self.write(".gitignore", "/.dvc\n/data\n")

    def git(self, *arguments: str) -> str:
        who = {f"GIT_{role}_{what}": "test@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        return subprocess.run(
            ["git", *arguments], cwd=self.root, check=True, capture_output=True, text=True, env=os.environ | who
        ).stdout

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, "utf-8")

    def report(self, stage: str, value: Any) -> None:
        self.write(f"reports/{stage}.json", json.dumps(value))

    def put(self, data: bytes, suffix: str = "") -> str:
        name = md5(data).hexdigest() + suffix
        self.cache.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.cache.path(name).write_bytes(data)
        return name

    def model(self, table: pa.Table, tag: str = "", vocabulary: str = "one", **more: Any) -> None:
        """A build whose model got these scores; committed where there is a tag."""
        path = self.root / OUT / "documents.parquet"
        write_table(table, path)
        self.report("evaluate/causal", figures(table) | more)
        entries = [{"md5": self.put(path.read_bytes()), "relpath": "documents.parquet"}]
        outs = [{"path": OUT, "md5": self.put(json.dumps(entries).encode(), ".dir")}]
        deps = [{"path": "data/tokenizer", "md5": f"{md5(vocabulary.encode()).hexdigest()}.dir"}]
        self.write("dvc.lock", yaml.safe_dump({"stages": {"evaluate@causal": {"deps": deps, "outs": outs}}}))
        if tag:
            self.git("add", "-A")
            self.git("commit", "-qm", tag)
            self.git("tag", tag)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """v1, a better v2, and a workspace that is the same as v2."""
    made = Repository(tmp_path_factory.mktemp("example"))
    made.start()
    made.report("collect", {"documents": 40, "reasons": {"empty": 2}, "passed": True, "name": "x", "edges": [1, 2.5]})
    made.model(scores(some(40, 300)), "v1", bleu=0.31)
    made.report("collect", {"documents": 42, "reasons": {"long": 1}, "passed": False, "name": "y", "edges": [1, 2.5]})
    made.model(scores({name: value - 12 for name, value in some(40, 300).items()}, correct=49), "v2", bleu=0.3)
    return made.root


NOW = """
stages:
  collect: {cmd: c, outs: [data/collect], plots: [reports/collect.json: {cache: false}]}
  evaluate:
    matrix: {family: "${families}"}
    cmd: e
    outs: ["data/evaluate/${item.family}"]
    plots: [reports/curves, "reports/evaluate/${item.family}.json": {cache: false}]
    metrics: ["reports/metrics/evaluate/${item.family}.json": {cache: false}, own.json: {cache: false}]
"""


def test_a_report_is_compared_wherever_a_revision_declares_it(repository: Repository) -> None:
    """As a plot, or as a metric as older revisions have it; what `dvc exp show` lists is of these, and not said twice."""
    before = compare(repository.root, "v1", "v2").rows
    repository.write("dvc.yaml", NOW)
    repository.report("metrics/evaluate/causal", {"causal": {"bits_per_byte": 9.9}})
    repository.write("own.json", '{"mine": 1}')
    found = compare(repository.root, "v1", "workspace")
    assert [row for row in found.rows if row.file != "own"] == before
    assert any(row.interval for row in found.rows)
    assert found.b.metrics["own"] == {"mine": 1}
    assert set(found.b.metrics) == {"collect", "evaluate/causal", "own"}
    repository.git("add", "-A")
    repository.git("commit", "-qm", "v3")
    shutil.rmtree(repository.root / ".dvc/cache")
    (note,) = [note for note in compare(repository.root, "v1", "HEAD", "causal").notes if "HEAD" in note]
    assert "fetch --all-commits data/evaluate/causal`" in note


@pytest.fixture
def repository(example: Path, tmp_path: Path) -> Repository:
    shutil.copytree(example, tmp_path / "copy")
    return Repository(tmp_path / "copy")


def row_of(found: Comparison, name: str) -> Any:
    return next(row for row in found.rows if name in (row.name, row.metric))


def test_every_number_is_compared_file_by_file(repository: Repository) -> None:
    found = compare(repository.root, "v1", "v2")
    told = {row.name: (row.a, row.b, row.difference) for row in found.rows if row.file == "collect"}
    assert told == {
        "collect:documents": (40, 42, 2),
        "collect:reasons.empty": (2, None, None),
        "collect:reasons.long": (None, 1, None),
        "collect:edges.0": (1, 1, 0),
        "collect:edges.1": (2.5, 2.5, 0.0),
    }
    assert row_of(found, "bleu").difference == -0.01  # of what is written, not of the binary fractions
    shown = [row.name for row in found.visible_rows(False)]
    assert "collect:edges.0" not in shown
    assert {"collect:documents", "collect:reasons.long", "evaluate/causal:loss"} <= set(shown)
    assert {row.file for row in compare(repository.root, "v1", "v2", "causal").rows} == {"evaluate/causal"}


def test_a_place_in_a_list_of_objects_is_no_name(repository: Repository) -> None:
    """Weak spots are listed worst first: the first of one revision is not the first of another."""
    spot = {"kind": "source", "slice": "mail", "excess": 0.5, "interval": [0.1, 0.9]}
    repository.model(scores(some(40, 300)), "v3", weak_spots=[spot, spot], slices_compared=9)
    repository.model(scores(some(40, 300)), "v4", weak_spots=[], slices_compared=8)
    found = compare(repository.root, "v3", "v4")
    assert row_of(found, "slices_compared").difference == -1
    assert not [row for row in found.rows if "weak_spots" in row.metric]


def test_verdicts_know_which_direction_is_good(repository: Repository) -> None:
    found = compare(repository.root, "v1", "v2")
    verdicts = {row.metric: row.verdict for row in found.rows}
    assert verdicts["loss"] == verdicts["bits_per_byte"] == verdicts["perplexity"] == "better"
    assert verdicts["accuracy"] == "worse"
    assert verdicts["bleu"] == "worse (no interval)"
    assert verdicts["documents"] == ""
    back = {row.metric: row.verdict for row in compare(repository.root, "v2", "v1").rows}
    assert (back["loss"], back["accuracy"], back["bleu"]) == ("worse", "better", "better (no interval)")
    loss = row_of(found, "loss")
    assert loss.interval[0] <= loss.difference == -0.12 <= loss.interval[1]


def test_what_is_chance_is_not_called_a_difference(repository: Repository) -> None:
    repository.model(scores(some(40, 301, seed=1)))
    found = compare(repository.root, "v1", "workspace")
    assert row_of(found, "loss").difference != 0
    assert row_of(found, "loss").verdict == "no difference shown"
    assert row_of(found, "loss").interval[0] < 0 < row_of(found, "loss").interval[1]


def test_a_revision_is_no_different_from_itself(repository: Repository) -> None:
    """The law: whatever it holds, nothing differs, and no condition of a rise is broken."""
    for name in ("v1", "v2", "workspace", "HEAD~1"):
        found = compare(repository.root, name, name)
        assert found.visible_rows(False) == []
        assert {row.difference for row in found.rows} == {0}
        assert {row.interval for row in found.rows} <= {None, (0.0, 0.0)}
        assert {row.verdict for row in found.rows} <= {"", "no difference shown"}
        conditions = [parse(f"{row.name} {sign} 0") for row in found.rows for sign in (">", "<", "!=")]
        assert broken(found, conditions, ["loss", "bits_per_byte", "accuracy"]) == []
    assert compare(repository.root, "v2", "workspace").visible_rows(False) == []


def test_the_workspace_is_what_lies_there_and_a_revision_is_what_git_has(repository: Repository) -> None:
    repository.report("collect", {"documents": 99})
    found = compare(repository.root, "v1", "workspace")
    assert (row_of(found, "documents").a, row_of(found, "documents").b) == (40, 99)
    assert row_of(compare(repository.root, "v2", "v1"), "documents").a == 42


def test_a_grown_corpus_is_compared_on_what_both_scored(repository: Repository) -> None:
    grown = {name: value - 12 for name, value in some(40, 300).items() if name != "d000"} | {
        "new1": 900.0,
        "new2": 950.0,
    }
    repository.model(scores(grown))
    found = compare(repository.root, "v1", "workspace")
    assert found.documents["evaluate/causal"] == (39, 1, 2, 0)
    assert "39 validation documents scored by both, 1 only by v1" in " ".join(found.notes)
    assert (row_of(found, "loss").verdict, row_of(found, "loss").interval) == ("other documents", None)
    assert row_of(found, "loss").difference > 0
    common = row_of(found, f"{COMMON}loss")
    assert (common.difference, common.verdict) == (-0.12, "better")
    assert common in found.visible_rows(False)
    assert broken(found, [parse("loss > 0")], ["loss"])[0].startswith("loss > 0: evaluate/causal:loss went from")
    assert broken(found, [parse("evaluate/causal:common.loss > 0")], ["loss"]) == []


def test_documents_that_were_edited_are_counted(repository: Repository) -> None:
    before = repository.root / OUT / "documents.parquet"
    table = read_table(before)
    sizes = pa.array([401, *table["bytes"].to_pylist()[1:]])
    repository.model(table.set_column(table.schema.get_field_index("bytes"), "bytes", sizes))
    found = compare(repository.root, "v2", "workspace")
    assert found.documents["evaluate/causal"].changed == 1
    assert "1 of them with other bytes" in " ".join(found.notes)


def test_another_vocabulary_leaves_bits_per_byte(repository: Repository) -> None:
    fewer = scores({name: value - 12 for name, value in some(40, 300).items()}, correct=45, tokens=90)
    repository.model(fewer, vocabulary="two")
    found = compare(repository.root, "v1", "workspace")
    assert {row_of(found, name).verdict for name in ("loss", "perplexity", "accuracy")} == {"other vocabulary"}
    assert row_of(found, "loss").interval is None
    assert row_of(found, "bits_per_byte").verdict == "better"
    with pytest.raises(UserError, match="other vocabulary"):
        broken(found, [], ["loss"])


def test_a_cache_that_lacks_the_scores(repository: Repository) -> None:
    """Figures without an interval, and the command that would bring it; a gate that needs it is an error."""
    for path in repository.cache.folder.rglob("*"):
        if path.is_file():
            path.unlink()
    found = compare(repository.root, "v1", "workspace")
    assert row_of(found, "loss").verdict == "better (no interval)"
    assert "dvc fetch --all-commits data/evaluate/causal" in " ".join(found.notes)
    assert broken(found, [parse("loss > 0")], []) == []
    for metric in ("loss", "bleu"):
        with pytest.raises(UserError, match="has no interval"):
            broken(found, [], [metric])
    with pytest.raises(UserError, match="dvc fetch"):
        broken(found, [parse("common.loss > 0")], [])


@pytest.mark.parametrize("data", [b"no parquet", b""])
def test_scores_that_cannot_be_read_are_missing(repository: Repository, data: bytes) -> None:
    for path in repository.cache.folder.rglob("*"):
        if path.is_file() and path.read_bytes().startswith(b"PAR1"):
            path.write_bytes(data)
    assert "lacks the document scores of v1" in " ".join(compare(repository.root, "v1", "v2").notes)


# Conditions.


@given(
    st.sampled_from(["loss", "evaluate/causal:bits_per_byte", "by_source.my notes.loss", "a.0"]),
    st.sampled_from(list(OPERATORS)),
    st.floats(-1e9, 1e9),
    st.sampled_from(["", " ", "  "]),
)
def test_conditions_are_read_as_written(metric: str, sign: str, limit: float, gap: str) -> None:
    assert parse(f"{gap}{metric}{gap}{sign}{gap}{limit!r}{gap}") == (metric, sign, limit)


@pytest.mark.parametrize(
    "wrong", ["", "loss", "loss > ", "> 1", "loss => 1", "loss > x", "loss > 1 > 2", "loss > nan", "loss > inf", "loss > 1_0",
              "loss > 0x1", "loss > 1e9999", "loss > ١", "loss = 1", "1 < loss", "loss > 1; 2", "loss > __import__('os')"],
)  # fmt: skip
def test_wrong_conditions_are_refused(wrong: str) -> None:
    with pytest.raises(UserError, match="METRIC OP NUMBER"):
        parse(wrong)


def test_conditions_speak_of_the_difference(repository: Repository) -> None:
    found = compare(repository.root, "v1", "v2")
    assert broken(found, [parse("documents > 2"), parse("bleu < -0.01"), parse("loss >= -0.1")], []) == []
    assert broken(found, [parse("documents >= 2")], []) == ["documents >= 2: collect:documents went from 40 to 42 (+2)"]
    assert len(broken(found, [parse("evaluate/causal:bleu <= -0.01"), parse("loss < 0")], ["accuracy", "loss"])) == 3
    assert "evaluate/causal:accuracy is worse: -0.01, 95 % interval" in broken(found, [], ["accuracy"])[0]


def test_a_metric_that_is_not_there_is_an_error(repository: Repository) -> None:
    found = compare(repository.root, "v1", "v2")
    hints = {
        "bits_per_bite": "did you mean `bits_per_byte`",
        "collect:loss": "has a metric",
        "reasons.long": "is only in v2",
    }
    for metric, hint in hints.items():
        with pytest.raises(UserError, match=hint):
            broken(found, [parse(f"{metric} > 0")], [])
    with pytest.raises(UserError, match="has a metric"):
        broken(found, [], ["nothing"])


# Revisions.


def test_a_revision_is_shown_with_its_commit(repository: Repository) -> None:
    revision = read_revision(repository.root, "v1")
    assert str(revision) == f"v1 ({revision.commit[:9]})"
    assert str(read_revision(repository.root, revision.commit)) == revision.commit
    assert str(read_revision(repository.root, WORKSPACE)) == WORKSPACE


@pytest.mark.parametrize(
    "name", ["-x", "--output=x", "", "no-such", "a\nb", "\0", "HEAD:dvc.yaml", "^HEAD", "HEAD~99", "v1..v2"]
)
def test_what_is_no_revision_is_refused(repository: Repository, name: str) -> None:
    for pair in ((name, "v1"), ("v1", name)):
        with pytest.raises(UserError, match="git knows no revision"):
            compare(repository.root, *pair)


def test_before_any_commit_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="git knows no revision 'HEAD'"):
        compare(tmp_path, "HEAD", WORKSPACE)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    with pytest.raises(UserError, match="there is no commit here yet to compare with"):
        compare(tmp_path, "HEAD", WORKSPACE)


def test_revisions_have_many_names(repository: Repository) -> None:
    commit = repository.git("rev-parse", "v1").strip()
    repository.git("tag", "-a", "annotated", "-m", "words", "v1")
    repository.git("update-ref", f"refs/exps/ab/{'c' * 38}/brave-try", commit)
    for name in (commit, commit[:8], "HEAD~1", "annotated", "brave-try"):
        assert compare(repository.root, name, "v1").a.commit == commit


def test_a_repository_below_gits_root(repository: Repository) -> None:
    below = Repository(repository.root / "project")
    below.write("dvc.yaml", PIPELINE)
    below.write("params.yaml", "families: [causal]\n")
    below.report("evaluate/causal", {"loss": 1.0})
    repository.git("add", "-f", "project")
    repository.git("commit", "-qm", "below")
    below.report("evaluate/causal", {"loss": 1.5})
    assert row_of(compare(below.root, "HEAD", "workspace"), "loss").difference == 0.5


def test_families_come_and_go(repository: Repository) -> None:
    repository.write("params.yaml", "families: [causal, masked]\n")
    repository.report("evaluate/masked", {"loss": 2.0})
    found = compare(repository.root, "v2", "workspace")
    assert "evaluate/masked: v2" in " ".join(found.notes)
    assert found.visible_rows(False) == []
    with pytest.raises(UserError, match="is only in workspace"):
        broken(found, [parse("loss > 0")], [])
    with pytest.raises(UserError, match="known: causal, masked"):
        compare(repository.root, "v2", "workspace", "seq2seq")


def test_own_stages_that_only_dvc_can_write_out_are_no_obstacle(repository: Repository) -> None:
    rows = compare(repository.root, "v1", "workspace").rows
    own = '  own:\n    foreach: ${mine}\n    do: {cmd: c, metrics: ["own/${item}.json": {cache: false}]}\nvars: [{mine: [a]}]\n'
    repository.write("dvc.yaml", PIPELINE + own)
    assert [row.metric for row in compare(repository.root, "v1", "workspace").rows] == [row.metric for row in rows]


def test_files_that_cannot_be_used(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("{", "[" * 100_000, "\x00"):
        repository.write("reports/collect.json", text)
        with pytest.raises(UserError, match=r"reports/collect\.json of `workspace` cannot be read"):
            compare(repository.root, "v1", "workspace")
    repository.write("reports/collect.json", '{"documents": NaN, "rows": 1e999, "kept": 3}')
    assert [row.metric for row in compare(repository.root, "workspace", "workspace").rows if row.file == "collect"] == [
        "kept"
    ]
    repository.write("dvc.yaml", "stages: {}\n")
    with pytest.raises(UserError, match="no stages"):
        compare(repository.root, "v1", "workspace")
    monkeypatch.setattr(git_revisions, "LARGEST", 150)
    names = [f"v1:./{path}" for path in ("none", "dvc.yaml", "params.yaml", "reports")]
    assert blobs(repository.root, names) == [b"", b"", b"families: [causal]\n", b""]
    assert blobs(repository.root.parent / "x", []) == []


# For eyes.


def test_numbers_and_names_for_eyes(repository: Repository) -> None:
    told = {None: "", 1234567: "1,234,567", 0.5: "0.5", 2.0: "2", 1e-7: "1e-07", 1234.5678901: "1,234.56789", 0.0: "0"}
    assert {value: number(value) for value in told} == told
    assert [number(value, "+") for value in (3, -0.25, 0.0)] == ["+3", "-0.25", "+0"]
    repository.report("collect", {"by_source": {"[red]a\x1b[31m": 1}, "documents": 42})
    console = Console(width=140, record=True)
    console.print(table(compare(repository.root, "v2", "workspace"), True))
    assert r"by_source.[red]a\x1b[31m" in console.export_text()


def test_the_command(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository.root)

    def run(*words: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, ["compare", *words])
        return done.exit_code, done.stdout, done.stderr

    code, said, _ = run("v1", "v2", "--fail-if", "bits_per_byte > 0.01", "--fail-if-worse", "loss")
    assert code == 0
    assert "evaluate/causal" in said
    assert "better" in said
    assert "documents scored by both" in said
    code, said, failed = run("v1", "--json", "--fail-if", "documents > 1", "--fail-if", "loss > 0")
    assert (code, failed) == (1, "FAILED  documents > 1: collect:documents went from 40 to 42 (+2)\n")
    plain = json.loads(said)
    assert plain["b"] == {"revision": "workspace", "commit": ""}
    assert plain["documents"]["evaluate/causal"] == {"common": 40, "only_a": 0, "only_b": 0, "changed": 0}
    assert next(row for row in plain["metrics"] if row["metric"] == "loss")["verdict"] == "better"
    for words in (("--fail-if", "loss"), ("--fail-if", "lost > 1"), ("--fail-if-worse", "bleu"), ("--family", "x")):
        code, _, failed = run("v1", "v2", *words)
        assert code == 2
        assert "error: privllm compare:" in failed
    assert run("v9", "v2")[0] == 2
    assert "No metric differs." in run("v2")[1]
