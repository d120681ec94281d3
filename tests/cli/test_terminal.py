"""Every command prints names of anybody's making: what a terminal would obey is shown, and a half character is no error."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from privllm.cli.app import app
from privllm.core.errors import UserError
from privllm.feedback.records import Model
from privllm.manage.audit import Audited, Fault
from privllm.manage.compare import Comparison, Row
from privllm.manage.document_status import Fate
from privllm.manage.git_revisions import Revision
from privllm.manage.planned_stages import RUNS, Plan, PlannedStage
from privllm.manage.promote import Release
from privllm.manage.rebuild_causes import Cause
from privllm.manage.revision_metrics import RevisionMetrics
from privllm.manage.trace import RevisionHoldings, Trace
from privllm.serve.database import Database
from tests.feedback.cases import B, vote
from tests.hostile import ESCAPED, EVIL, obeyed

RUNNER = CliRunner()
PART = {"media_type": EVIL, "encoding": EVIL, "digest": EVIL, "shard": EVIL}
FATE = Fate(
    EVIL,
    EVIL,
    "train",
    EVIL,
    collect=PART,
    pack={"split": "train", "tokens": 3, "rows": None, "again": [], "file": EVIL},
)
HOLDINGS = RevisionHoldings(Revision("abc1234", "2026-11-25", EVIL, (EVIL,), "", True), {"train": 1})
RESULTS: dict[str, Any] = {
    "privllm.manage.plan.make_plan": Plan([PlannedStage(EVIL, RUNS, [Cause("documents", EVIL, {"names": [EVIL]})], 1.0, 2.0)], [EVIL]),
    "privllm.manage.trace.trace": Trace(EVIL, [FATE, FATE], [HOLDINGS]),
    "privllm.manage.audit.audit": [
        Audited(EVIL, skipped=EVIL),
        Audited("clean", faults=[Fault("clean", EVIL, "0" * 32, "1" * 32)]),
    ],
    "privllm.manage.compare.compare": Comparison(
        RevisionMetrics(EVIL, EVIL, {}, {"clean": {EVIL: 1}}, {}), RevisionMetrics("workspace", "", {}, {"clean": {EVIL: 2}}, {}),
        [Row("clean", EVIL, 1, 2, 1, None, "")], {}, [EVIL],
    ),
    "privllm.manage.promote.releases": [Release(EVIL, EVIL, EVIL, True, {EVIL: 1.0})],
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").touch()
    for name, result in RESULTS.items():
        monkeypatch.setattr(name, lambda *_, result=result, **__: result)
    return tmp_path


@pytest.mark.parametrize("words", ["plan", "trace x", "audit", "compare a b --all", "models"])
def test_names_are_shown_not_obeyed(words: str) -> None:
    done = RUNNER.invoke(app, words.split())
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert "".join(ESCAPED.split()) in "".join(done.output.split())
    assert not obeyed(done.output)
    assert "\n\n\n" not in done.output


def test_a_name_is_no_line_of_its_own() -> None:
    assert RUNNER.invoke(app, ["models"]).output.count("\n") == 2
    # At the end a heading for the revisions, and a line for the one there is.
    assert RUNNER.invoke(app, ["trace", "x"]).output.count("\n") == 2 + len([FATE, FATE]) + 1 + 2


@pytest.mark.parametrize("words", ["plan --json", "trace x --json", "compare a b --json", "models --json"])
def test_programs_read_the_very_name(words: str) -> None:
    done = RUNNER.invoke(app, words.split())
    assert not obeyed(done.output)
    assert EVIL in strings_of(json.loads(done.output))


def strings_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | strings_of(list(value.values()))
    return (
        {value}
        if isinstance(value, str)
        else set().union(*map(strings_of, value))
        if isinstance(value, list)
        else set()
    )


def says(*given: Any) -> None:
    """In place of `forget` and `promote`, whose last argument is, or has, what they say things with."""
    getattr(given[-1], "say", given[-1])(EVIL)


@pytest.mark.parametrize(
    ("words", "function"),
    [("forget x --yes", "privllm.manage.forget.forget"), ("promote", "privllm.manage.promote.promote")],
)
def test_what_is_said_underway_and_errors(words: str, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function, says)
    done = RUNNER.invoke(app, words.split())
    assert ESCAPED in done.output
    assert not obeyed(done.output, lines=1)

    def fail(*_: Any) -> None:
        raise UserError(f"{EVIL} is in the way.")

    monkeypatch.setattr(function, fail)
    done = RUNNER.invoke(app, words.split())
    assert done.exit_code == 1
    assert ESCAPED in done.stderr
    assert not obeyed(done.stderr, lines=3)


def test_a_condition_that_broke_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privllm.manage.fail_conditions.broken", lambda *_: [EVIL])
    done = RUNNER.invoke(app, ["compare", "a", "b"])
    assert done.exit_code == 1
    assert f"FAILED  {ESCAPED}" in done.stderr
    assert not obeyed(done.stderr)


def test_the_summary_of_hostile_reports(folder: Path) -> None:
    name = f"[/red][bold]{EVIL}".encode("utf-8", "replace").decode().replace("\x00", "").replace("/", "")
    for path, report in {
        "collect.json": {"documents": 1, "quarantined": {EVIL: 1}},
        "gate.json": {"incumbent": EVIL, "passed": True},
        f"evaluate/{name}.json": {"perplexity": 2.0},
    }.items():
        (folder / "reports" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "reports" / path).write_text(json.dumps(report))
    samples = folder / "data/evaluate" / name / "samples.json"
    samples.parent.mkdir(parents=True)
    samples.write_text(json.dumps({"samples": [{"prompt": EVIL, "text": f"[/red]{EVIL}"}]}))
    log = folder / ".privllm/log.jsonl"
    log.parent.mkdir()
    log.write_text(json.dumps({"stage": f"finetune@[/red]{EVIL}", "seconds": 1, "ended": 1}))
    done = RUNNER.invoke(app, ["summary"])
    assert done.exit_code == 0, done.exception
    assert not obeyed(done.output)
    assert done.output.count(r"evil\x1b[2J") >= 4


def test_people_and_models_with_hostile_names() -> None:
    model = Model(f"[/red]{EVIL}".encode("utf-8", "replace").decode(), "a" * 40, "a" * 32)
    Database().vote(vote("1", "left", model, B))
    done = RUNNER.invoke(app, ["feedback", "ranking"])
    assert done.exit_code == 0, done.exception
    assert not obeyed(done.output)
    assert r"[/red]evil\x1b" in "".join(done.output.split())


@pytest.mark.torch
def test_answers_of_a_model_are_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "privllm.train.predict_lines.open_tuned", lambda _: type("Tuned", (), {"kind": "classification"})
    )
    monkeypatch.setattr("privllm.train.predict_lines.answers", lambda *_: [{"text": EVIL}])
    done = RUNNER.invoke(app, ["predict", "x"], input="")
    assert not obeyed(done.output, lines=1)
    assert json.loads(done.output) == {"text": EVIL}
