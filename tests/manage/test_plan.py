"""What `plan` says of an edit against what `dvc repro` then runs: no stage runs that it did not name, and causes are right.

The first repository is four stages made by hand, in whose code a helper lies three imports away; the last is the real build.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from privllm.cli.app import app
from privllm.core.errors import UserError
from privllm.manage import plan as plan_module
from privllm.manage.dvc_state import open_build
from privllm.manage.plan import make_plan
from privllm.manage.planned_stages import CACHED, MAY_RUN, RUNS, UP_TO_DATE, Plan, PlannedStage
from privllm.manage.predicted_hashes import PredictedHashes
from privllm.manage.rebuild_causes import Cause
from tests.workshop import Workshop, make_workshop

TOOL = '''
"""The stages of a small build."""
import re
import sys
from pathlib import Path

import yaml

from privllm.collect.recipe import CollectConfig, collect
from privllm.engine.fingerprint import write_fingerprints
from privllm.core.report import write_json
from privllm.engine.store import open_store
from privllm.core.tables import read_table

stage, params = sys.argv[1], yaml.safe_load(Path("params.yaml").read_text())
if stage == "fingerprint":
    write_fingerprints(Path(), Path("data/fingerprint"))
if stage == "collect":
    cfg = CollectConfig(**params["collect"])
    write_json(Path("reports/collect.json"), collect(cfg, Path("data/sources"), Path("data/collect"), open_store("collect")))
if stage == "clean":
    texts = [text for path in sorted(Path("data/collect").glob("*.parquet")) for text in read_table(path)["text"].to_pylist()]
    Path("data/clean").mkdir(exist_ok=True)
    Path("data/clean/all.txt").write_text(params["clean"]["join"].join(sorted(re.sub("[0-9]", "", text) for text in texts)))
if stage == "report":
    Path("reports/index.html").write_text(f"{len(Path('data/clean/all.txt').read_text())} letters")
'''
FILES = {
    "tools/make.py": TOOL,
    "stages/__init__.py": "",
    "stages/collect.py": "import privllm.core\n",
    "stages/clean.py": "from privllm.one import run\nrun()\n",
    "stages/report.py": "import numpy\n",
    "privllm/__init__.py": "",
    "privllm/core.py": "def read(x):\n    return x\n",
    "privllm/one.py": "from privllm.two import run\n",
    "privllm/two.py": "from privllm.three import helper\n\n\ndef run():\n    return helper(1)\n",
    "privllm/three.py": "def helper(x):\n    return x + 1\n",
    "requirements.lock": "numpy==1.2.3\n",
    "params.yaml": "collect: {shard_bits: 2, max_megabytes: 1}\nclean: {join: ' '}\n",
    "data/sources/a.txt": "one 1\n",
    "data/sources/b.txt": "two 2\n",
    "data/sources/c.jsonl": '{"text": "three"}\n{"text": "four"}\n',
    ".gitignore": "/.privllm/\n__pycache__/\n",
    "dvc.yaml": """
stages:
  fingerprint:
    cmd: python tools/make.py fingerprint
    deps: [privllm, stages, requirements.lock]
    outs: [data/fingerprint]
  collect:
    cmd: python tools/make.py collect
    deps: [data/sources, data/fingerprint/collect.json]
    params: [collect]
    outs: [data/collect]
    metrics: [reports/collect.json: {cache: false}]
  clean:
    cmd: python tools/make.py clean
    deps: [data/collect, data/fingerprint/clean.json]
    params: [clean]
    outs: [data/clean]
  report:
    cmd: python tools/make.py report
    deps: [data/clean, reports/collect.json, data/fingerprint/report.json]
    outs: [reports/index.html]
""",
}
LOG = [
    {"stage": "collect", "seconds": 9.0, "ended": 1, "shards": 4, "made": 4, "bytes": 4000, "bytes_made": 4000},
    {"stage": "collect", "seconds": 1.0, "ended": 2, "shards": 4, "made": 0, "bytes": 4000, "bytes_made": 0},
    {"stage": "clean", "seconds": 30.0, "ended": 3},
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four stages, built."""
    shop = Workshop(tmp_path_factory.mktemp("plan") / "repo")
    for name, text in FILES.items():
        (shop.root / name).parent.mkdir(parents=True, exist_ok=True)
        (shop.root / name).write_text(text)
    (shop.root / "reports").mkdir()
    shop.run("git", "init", "-q", "-b", "main")
    shop.run("git", "config", "user.name", "Test")
    shop.run("git", "config", "user.email", "test@localhost")
    shop.run("dvc", "init", "-q")
    shop.run("dvc", "add", "-q", "data/sources")
    assert shop.repro() == ["fingerprint", "collect", "clean", "report"]
    shop.commit("built")
    return shop.root


@pytest.fixture
def shop(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """A copy of it to edit, which is the working directory."""
    shutil.copytree(built, tmp_path / "repo", symlinks=True)
    monkeypatch.chdir(tmp_path / "repo")
    return Workshop(tmp_path / "repo")


def verdicts(plan: Plan) -> dict[str, str]:
    return {step.stage: step.verdict for step in plan.steps}


def causes(plan: Plan, stage: str, kind: str | None = None) -> list[str]:
    return [
        cause.says for step in plan.steps if step.stage == stage for cause in step.causes if kind in (None, cause.kind)
    ]


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of every file but git's and DVC's scratch space."""
    files = (
        path
        for path in root.rglob("*")
        if path.is_file() and not {".git", "tmp", "__pycache__"} & set(path.relative_to(root).parts)
    )
    return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(files)}


def planned(shop: Workshop, *target: str) -> Plan:
    """The plan, which must leave everything as it is."""
    before = contents(shop.root), shop.run("git", "status", "--porcelain").stdout
    plan = make_plan(*target)
    assert (contents(shop.root), shop.run("git", "status", "--porcelain").stdout) == before
    return plan


def holds(shop: Workshop, plan: Plan, *target: str) -> list[str]:
    """Check a plan against the build that follows; returns the stages that ran."""
    ran = shop.repro(*target)
    said = verdicts(plan)
    assert set(ran) <= {stage for stage, verdict in said.items() if verdict in (RUNS, MAY_RUN)}
    assert {stage for stage, verdict in said.items() if verdict == RUNS} <= set(ran)
    assert set(verdicts(planned(shop, *target)).values()) == {UP_TO_DATE}
    return ran


def touch(shop: Workshop) -> None:
    for path in ("data/sources/a.txt", "privllm/three.py", "data/clean/all.txt"):
        (shop.root / path).touch()


def write(path: str, text: str) -> Callable[[Workshop], object]:
    return lambda shop: (shop.root / path).write_text(text)


def edit(path: str, old: str, new: str) -> Callable[[Workshop], object]:
    return lambda shop: shop.edit(path, old, new)


def edit_documents(shop: Workshop) -> None:
    sources = shop.root / "data/sources"
    (sources / "a.txt").write_text("another\n")
    (sources / "b.txt").unlink()
    (sources / "c.jsonl").write_text(FILES["data/sources/c.jsonl"] + '{"text": "five"}\n')


NOTHING = dict.fromkeys(("fingerprint", "collect", "clean", "report"), UP_TO_DATE)
AFTER_COLLECT = NOTHING | {"collect": RUNS, "clean": MAY_RUN, "report": MAY_RUN}
CASES: dict[str, tuple[Callable[[Workshop], object], dict[str, str], list[str], dict[str, str]]] = {
    # edit, verdicts, stages that run, {stage: a piece of what is said of it}
    "nothing": (lambda shop: None, NOTHING, [], {}),
    "touch": (touch, NOTHING, [], {}),
    "comment": (
        edit("privllm/three.py", "def", "# why\ndef"),
        NOTHING | {"fingerprint": RUNS},
        ["fingerprint"],
        {"fingerprint": "privllm changed | it changes no fingerprint"},
    ),
    "helper": (
        edit("privllm/three.py", "x + 1", "1 + x"),
        NOTHING | {"fingerprint": RUNS, "clean": RUNS, "report": MAY_RUN},
        ["fingerprint", "clean"],
        {"fingerprint": "it changes the fingerprint of clean", "clean": "privllm.three.helper changed"},
    ),
    "library": (
        edit("requirements.lock", "1.2.3", "1.3"),
        NOTHING | {"fingerprint": RUNS, "report": RUNS},
        ["fingerprint", "report"],
        {"report": "numpy 1.2.3 -> 1.3"},
    ),
    "parameter": (
        edit("params.yaml", "join: ' '", "join: '--'"),
        NOTHING | {"clean": RUNS, "report": MAY_RUN},
        ["clean", "report"],
        {"clean": 'clean.join: " " -> "--"', "report": "if the outputs of clean change"},
    ),
    "documents": (
        edit_documents,
        AFTER_COLLECT,
        ["collect", "clean", "report"],
        {"collect": "documents: 1 added (c.jsonl#3), 1 changed (a.txt), 1 removed (b.txt); "},
    ),
    "digits, which clean takes out": (
        write("data/sources/a.txt", "one 7\n"),
        AFTER_COLLECT,
        ["collect", "clean"],
        {"collect": "documents: 1 changed (a.txt); 1 of 4 shards"},
    ),
    "no document": (
        write("data/sources/.notes", "hidden"),
        AFTER_COLLECT,
        [
            "collect",
            "clean",
            "report",
        ],  # the same shards, and another name for the content; collect's report counts what it ignored
        {"collect": "data/sources changed, but none of its documents"},
    ),
    "command": (
        edit("dvc.yaml", "make.py clean", "make.py clean now"),
        NOTHING | {"clean": RUNS, "report": MAY_RUN},
        ["clean"],
        {"clean": "its command changed"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_edit(shop: Workshop, case: str) -> None:
    change, expected, runs, said = CASES[case]
    change(shop)
    plan = planned(shop)
    assert verdicts(plan) == expected
    for stage, words in said.items():
        assert words in " | ".join(causes(plan, stage))
    assert holds(shop, plan) == runs


def test_the_run_cache_is_foretold_and_what_follows_from_it(shop: Workshop) -> None:
    shop.set("clean.join", "--")
    shop.repro()
    shop.set("clean.join", " ")
    plan = planned(shop)
    assert verdicts(plan) == NOTHING | {"clean": CACHED, "report": CACHED}
    assert causes(plan, "report") == ["data/clean changed, 1 of 1 files"]
    shutil.rmtree(shop.root / ".dvc/cache/runs")
    assert verdicts(planned(shop)) == NOTHING | {"clean": RUNS, "report": MAY_RUN}


def test_outputs_that_are_missing_or_were_changed_by_hand(shop: Workshop) -> None:
    shutil.rmtree(shop.root / "data/clean")
    (shop.root / "reports/collect.json").write_text("{}")
    plan = planned(shop)
    assert verdicts(plan) == NOTHING | {"collect": CACHED, "clean": CACHED}
    assert causes(plan, "clean") == ["data/clean is missing"]
    assert causes(plan, "collect") == ["reports/collect.json was changed by hand"]
    assert holds(shop, plan) == []
    shutil.rmtree(shop.root / "data/clean")
    shutil.rmtree(shop.root / ".dvc/cache/files")
    assert causes(planned(shop), "clean") == ["data/clean is not in DVC's cache"]
    assert verdicts(planned(shop)) == NOTHING | {"fingerprint": RUNS, "collect": RUNS, "clean": RUNS, "report": RUNS}


def test_a_build_whose_fingerprint_was_made_before(shop: Workshop) -> None:
    """`dvc repro fingerprint` alone leaves the others to be told from what they were built with."""
    shop.edit("privllm/three.py", "x + 1", "1 + x")
    shop.edit("privllm/core.py", "return x", "return -x")
    assert shop.repro("fingerprint") == ["fingerprint"]
    (shop.root / "data/sources/a.txt").write_text("another")
    plan = planned(shop)
    assert verdicts(plan) == NOTHING | {"collect": RUNS, "clean": RUNS, "report": MAY_RUN}
    assert causes(plan, "collect", "code") == ["privllm.core.read changed"]
    assert causes(plan, "collect", "documents")[0].startswith("documents: 1 changed (a.txt)")
    assert causes(plan, "clean") == ["privllm.three.helper changed"]


def test_nothing_was_built(shop: Workshop) -> None:
    (shop.root / "dvc.lock").unlink()
    shutil.rmtree(shop.root / ".dvc/cache/runs")
    plan = planned(shop)
    assert set(verdicts(plan).values()) == {RUNS}
    assert {step.causes[0].says for step in plan.steps} == {"never built"}
    assert plan.lines()[-1] == "No record says how long fingerprint, collect, clean and 1 more would take."


def test_a_target_leaves_out_what_comes_after(shop: Workshop) -> None:
    shop.set("collect.max_megabytes", 2)
    assert verdicts(planned(shop, "clean")) == {"fingerprint": UP_TO_DATE, "collect": RUNS, "clean": MAY_RUN}
    with pytest.raises(UserError, match="nosuch"):
        make_plan("nosuch")


def test_a_parameter_that_a_stage_would_refuse_is_no_plan(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(remember: bool) -> None:
        raise UserError(f"gate.evidens, {remember}")

    monkeypatch.setattr(plan_module, "require_sound_params", refuse)
    with pytest.raises(UserError, match=r"gate\.evidens, False"):  # a plan writes nothing
        planned(shop)


def test_a_task_of_a_family_that_is_not_built_takes_no_time(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "skipped_stages", lambda params: {"clean": "masked", "finetune@gaps": "masked"})
    shop.edit("params.yaml", "join: ' '", "join: '--'")
    plan = planned(shop)
    assert {step.stage: step.seconds for step in plan.steps}["clean"] == 0.0
    assert plan.notes[-1] == "finetune@gaps: skipped with a note, since `families` does not name masked."


@pytest.mark.parametrize(("name", "hint"), [("nosuch", "dvc.yaml has"), ("claen", "did you mean `clean`?")])
def test_a_stage_that_there_is_not(shop: Workshop, name: str, hint: str) -> None:
    with pytest.raises(UserError, match=f"there is no stage `{name}`") as caught:
        planned(shop, name)
    assert hint in str(caught.value)
    assert "fingerprint, collect, clean, report" in str(caught.value)


def test_times_follow_the_share_of_the_shards(shop: Workshop) -> None:
    (shop.root / ".privllm/log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LOG))
    (shop.root / "data/sources/a.txt").write_text("another")
    plan = planned(shop)
    seconds = {step.stage: step.seconds for step in plan.steps}
    assert seconds == {"fingerprint": 0.0, "collect": 3.0, "clean": 30.0, "report": None}  # 1 s and a quarter of 8 s
    assert (
        plan.lines()[-1]
        == "In all about 3 s, or about 33 s if all runs that may run; no record says how long report would take."
    )
    assert (plan.as_json()["seconds"], plan.as_json()["seconds_at_most"]) == (3.0, 33.0)
    shop.set("collect.max_megabytes", 2)
    assert {step.stage: step.seconds for step in planned(shop).steps}["collect"] == 9.0


def test_a_stage_that_dvc_never_skips_and_one_it_never_runs(shop: Workshop) -> None:
    pipeline = yaml.safe_load((shop.root / "dvc.yaml").read_text())
    pipeline["stages"]["clean"]["always_changed"] = True
    pipeline["stages"]["collect"]["frozen"] = True
    (shop.root / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    (shop.root / "data/sources/a.txt").write_text("another")
    plan = planned(shop)
    assert verdicts(plan) == NOTHING | {"clean": RUNS, "report": MAY_RUN}
    assert causes(plan, "clean") == ["it always runs"]


def test_documents_that_are_gone_and_code_that_does_not_parse(shop: Workshop) -> None:
    shutil.rmtree(shop.root / "data/sources")
    assert causes(make_plan(), "collect") == ["data/sources is missing"]
    (shop.root / "privllm/three.py").write_text("def helper(")
    with pytest.raises(UserError, match=r"three\.py, line 1"):
        make_plan()


def test_what_dvc_yaml_names_anew_or_no_longer(shop: Workshop) -> None:
    """A section that is no longer named changes nothing for DVC; a new one does, and so does a new output."""
    pipeline = yaml.safe_load((shop.root / "dvc.yaml").read_text())
    stages = pipeline["stages"]
    del stages["clean"]["params"]
    stages["report"]["params"] = ["collect"]
    stages["fingerprint"]["metrics"] = [{"reports/new.json": {"cache": False}}]
    (shop.root / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    plan = planned(shop)
    assert verdicts(plan) == NOTHING | {"fingerprint": RUNS, "report": RUNS}
    assert causes(plan, "report") == ["collect.max_megabytes: (none) -> 1", "collect.shard_bits: (none) -> 2"]
    assert causes(plan, "fingerprint")[0] == "reports/new.json is missing"


def test_another_python_is_noted(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privllm.manage.plan.python_version", lambda: "3.99")
    assert make_plan().notes[0].startswith("The code was fingerprinted with Python 3.1")


def test_a_vocabulary_that_has_aged_is_noted(shop: Workshop) -> None:
    report = {"fits": False, "new_documents": 1200, "new_bytes_per_token": 2.5, "learnt_bytes_per_token": 4.25}
    (shop.root / "reports/tokenizer.json").write_text(json.dumps(report))
    assert [note for note in make_plan().notes if "1,200 new documents" in note and "privllm vocabulary drop" in note]
    (shop.root / "reports/tokenizer.json").write_text(json.dumps(report | {"fits": True}))
    assert not [note for note in make_plan().notes if "vocabulary" in note]


def test_the_command_prints_lines_or_one_json(shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.set("clean.join", "--")
    shown = CliRunner().invoke(app, ["plan", "clean"])
    assert shown.exit_code == 0
    assert [line.split()[:3] for line in shown.output.splitlines()[:2]] == [
        ["fingerprint", "up", "to"],
        ["collect", "up", "to"],
    ]
    assert 'clean.join: " " -> "--"' in shown.output
    found = json.loads(CliRunner().invoke(app, ["plan", "--json"]).output)
    assert {step["stage"]: step["verdict"] for step in found["stages"]} == NOTHING | {"clean": RUNS, "report": MAY_RUN}
    cause = {"kind": "parameter", "says": 'clean.join: " " -> "--"', "key": "clean.join", "old": " ", "new": "--"}
    assert found["stages"][2]["causes"] == [cause]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="root of the repository"):
        make_plan()


def test_what_a_name_could_do_to_a_terminal() -> None:
    plan = Plan([PlannedStage("collect", RUNS, [Cause("documents", "1 added (\x1b[2Jred.txt)", {})], 1.0, None)], [])
    assert r"1 added (\x1b[2Jred.txt)" in plan.lines()[0]


def test_a_path_below_what_the_run_cache_restores(shop: Workshop) -> None:
    """The forecast looks into a folder's listing, and knows who makes what."""
    with open_build() as build:
        stages = {stage.name: stage for stage in build.stages(None)}
        hashes = PredictedHashes(build)
        assert hashes.hash_of(stages["report"].deps[0]) == build.md5(stages["report"].deps[0])
        hashes.record(stages["fingerprint"], {"data/fingerprint": stages["fingerprint"].outs[0].recorded})
        (dep,) = (dep for dep in stages["clean"].deps if dep.path == "data/fingerprint/clean.json")
        assert hashes.hash_of(dep) == dep.recorded
        assert hashes.makers_of(dep.path) == {"fingerprint"}
        hashes.record(stages["clean"], None)
        (made,) = (dep for dep in stages["report"].deps if dep.path == "data/clean")
        assert hashes.hash_of(made) is None


def test_the_real_build(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its data stages on thirty documents, a function, a parameter and three documents edited."""
    shop = make_workshop(tmp_path_factory.mktemp("real") / "repo", ("fingerprint", "collect", "clean", "dedup"))
    monkeypatch.chdir(shop.root)
    shop.repro("dedup")
    shop.commit("built")
    shop.edit(
        "privllm/clean/pii.py",
        "def redact(text: str, redact_own: RedactOwn | None = None, countries: Sequence[str] = ()) -> tuple[str, dict[str, int]]:",
        "def redact(text: str, redact_own: RedactOwn | None = None, countries: Sequence[str] = (), *, new: int = 0) -> tuple:",
    )
    shop.edit("privllm/core/seed.py", "ID_BYTES", "# bytes of an id\nID_BYTES")
    shop.set("dedup.words", 6)
    (shop.root / "data/sources/letter.txt").write_text("Another letter.")
    plan = planned(shop, "dedup")
    assert verdicts(plan) == dict.fromkeys(("fingerprint", "collect", "clean", "dedup"), RUNS)
    assert [causes(plan, stage)[0] for stage in ("clean", "dedup")] == [
        "privllm.clean.pii.redact changed",
        "dedup.words: (none) -> 6",
    ]
    assert causes(plan, "collect")[0].startswith("documents: 1 changed (letter.txt); 1 of 16 shards, about ")
    assert all(step.seconds is not None for step in plan.steps)
    assert set(holds(shop, plan, "dedup")) == {"fingerprint", "collect", "clean", "dedup"}
