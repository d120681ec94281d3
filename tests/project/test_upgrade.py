"""An upgrade merges the template into a project, says first what that costs, and changes nothing before somebody agrees."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from privllm.cli.app import app
from privllm.core.errors import UserError
from privllm.core.work_paths import UPGRADE_JOURNAL
from privllm.engine.pipeline import written_stages
from privllm.manage.check import unfinished_upgrade
from privllm.manage.planned_stages import RUNS, UP_TO_DATE, Plan, PlannedStage
from privllm.manage.rebuild_causes import Cause
from privllm.project import init, upgrade
from privllm.project.init import create_project
from privllm.project.template import PRISTINE, WHOLE, project_files
from privllm.project.upgrade import (
    ADDED,
    CONFLICT,
    KEPT,
    MERGED,
    REMOVED,
    UPDATED,
    cost_lines,
    merge,
    plan_of,
    prepare_upgrade,
    restore,
)

BASE, OURS, THEIRS = "a\nb\nc\nd\ne\n", b"A\nb\nc\nd\ne\n", b"a\nb\nc\nd\nE\n"


@pytest.mark.parametrize(
    ("pristine", "current", "after", "kind", "content"),
    [
        (BASE, BASE.encode(), BASE.encode(), None, None),
        (BASE, OURS, BASE.encode(), None, None),  # only the project changed it
        (BASE, OURS, OURS, None, None),  # both did, in the same way
        (BASE, BASE.encode(), THEIRS, UPDATED, THEIRS),
        (BASE, OURS, THEIRS, MERGED, b"A\nb\nc\nd\nE\n"),
        (BASE, OURS, b"X\nb\nc\nd\ne\n", CONFLICT, None),
        (BASE, None, THEIRS, KEPT, None),  # the project removed it
        (BASE, None, BASE.encode(), None, None),
        (BASE, BASE.encode(), None, REMOVED, None),
        (BASE, OURS, None, KEPT, OURS),
        (None, None, THEIRS, ADDED, THEIRS),
        (None, OURS, THEIRS, CONFLICT, None),  # the project has a file of that name
        (None, THEIRS, THEIRS, None, None),
    ],
)
def test_what_becomes_of_a_file(
    pristine: str | None, current: bytes | None, after: bytes | None, kind: str | None, content: bytes | None
) -> None:
    change = merge("stages/x.py", pristine, current, after)
    assert (change and change.kind) == kind
    if change and kind not in (None, CONFLICT):
        assert change.content == content
    if change and kind == CONFLICT:
        assert b"<<<<<<< this project" in (change.content or b"")
        assert b">>>>>>> privllm now" in (change.content or b"")


def test_a_lock_is_replaced_or_kept_and_never_merged() -> None:
    files = project_files("x")
    lock, path = files["requirements.lock"], "requirements.lock"
    pristine = json.loads(init.pristine_text("x", files))["files"][path]
    assert path in WHOLE
    assert merge(path, pristine, lock, lock + b"new==1\n").kind == UPDATED
    change = merge(path, pristine, lock + b"own==1\n", lock + b"new==1\n")
    assert (change.kind, change.content) == (KEPT, lock + b"own==1\n")
    assert "by hand" in change.note


PLAN = Plan(
    [
        PlannedStage("collect", UP_TO_DATE, [], 0.0, 0.0),
        PlannedStage("clean", RUNS, [Cause("code", "privllm.clean.pii.redact changed", {})], 1.0, 90.0),
    ],
    [],
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project that an older version made, whose collect stage and dvc.yaml were others, and which changed both."""
    create_project(tmp_path / "x", use_git=False)
    root = tmp_path / "x"
    monkeypatch.chdir(root)
    record = json.loads((root / PRISTINE).read_text("utf-8"))
    record["version"] = "0.0.9"
    older_stage = record["files"]["stages/collect.py"].replace('"""collect:', '"""collect, once:')
    older_pipeline = record["files"]["dvc.yaml"].replace("desc: exact and near duplicates", "desc: duplicates")
    record["files"] |= {"stages/collect.py": older_stage, "dvc.yaml": older_pipeline, "stages/gone.py": "GONE = 1\n"}
    (root / PRISTINE).write_text(json.dumps(record))
    (root / "stages/collect.py").write_text(older_stage)
    (root / "stages/gone.py").write_text("GONE = 1\n")
    (root / "dvc.yaml").write_text(older_pipeline + "\n  own: {cmd: 'true'}\n")
    (root / "reports/collect.json").write_text('{"documents": 1200}')
    monkeypatch.setattr(upgrade, "make_plan", lambda: PLAN)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_it_says_what_it_would_do_and_does_nothing_without_consent(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(project)
    alone = CliRunner().invoke(app, ["upgrade"])
    assert alone.exit_code == 1
    assert "`privllm upgrade --yes`" in alone.output
    assert contents(project) == before
    monkeypatch.setattr("privllm.cli.projects.has_terminal", lambda: True)
    done = CliRunner().invoke(app, ["upgrade"], input="n\n")
    assert done.exit_code == 0, done.output
    assert "From privllm 0.0.9 to" in done.output
    assert "updated   stages/collect.py" in done.output
    assert "merged    dvc.yaml" in done.output
    assert "removed   stages/gone.py" in done.output
    assert "1 of 2 stages, over about 1,200 documents" in done.output
    assert "privllm.clean.pii.redact changed" in done.output
    assert "Nothing was changed." in done.output
    assert contents(project) == before


def test_with_consent_the_project_has_both_sides(project: Path) -> None:
    done = CliRunner().invoke(app, ["upgrade", "--yes"])
    assert done.exit_code == 0, done.output
    pipeline = (project / "dvc.yaml").read_text()
    assert "own: {cmd: 'true'}" in pipeline
    assert "desc: exact and near duplicates" in pipeline
    assert (project / "stages/collect.py").read_bytes() == project_files("x")["stages/collect.py"]
    assert not (project / "stages/gone.py").exists()
    again = CliRunner().invoke(app, ["upgrade", "--yes"])
    assert "nothing to do" in again.output


def test_a_conflict_is_shown_and_left_to_people(project: Path) -> None:
    text = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(text.replace("desc: duplicates", "desc: no copies"))
    done = CliRunner().invoke(app, ["upgrade", "--yes"])
    assert done.exit_code == 1
    assert "conflict  dvc.yaml" in done.output
    assert "<<<<<<< this project" in done.output
    assert "Done but for dvc.yaml" in done.output
    assert "<<<<<<< this project" in (project / "dvc.yaml").read_text()
    with pytest.raises(UserError, match="begins a conflict that git has marked"):
        written_stages(project)


def test_the_plan_is_made_of_the_merged_files_and_the_projects_own_come_back(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def watching() -> Plan:
        seen["stage"] = (project / "stages/collect.py").read_bytes()
        seen["gone"] = (project / "stages/gone.py").exists()
        raise UserError("the plan fails")

    monkeypatch.setattr(upgrade, "make_plan", watching)
    before = contents(project)
    with pytest.raises(UserError, match="the plan fails"):
        plan_of(prepare_upgrade())
    assert seen == {"stage": project_files("x")["stages/collect.py"], "gone": False}
    assert contents(project) == before


def test_a_killed_upgrade_is_taken_back_by_the_next(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    before = contents(project)
    prepared = prepare_upgrade()
    monkeypatch.setattr(upgrade, "make_plan", die)
    monkeypatch.setattr(upgrade, "restore", lambda *_: None)  # as after SIGKILL
    with pytest.raises(Killed):
        plan_of(prepared)
    assert contents(project) != before
    monkeypatch.undo()
    monkeypatch.chdir(project)
    assert (project / UPGRADE_JOURNAL).is_file()
    assert "nobody has agreed" in unfinished_upgrade(project)[0].message
    prepare_upgrade()
    assert contents(project) == before
    assert not restore()


def test_what_was_edited_after_a_killed_upgrade_stays(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(upgrade, "restore", lambda *_: None)  # as after SIGKILL
        plan_of(prepare_upgrade())
    edited = (project / "stages/collect.py").read_text() + "# mine\n"
    (project / "stages/collect.py").write_text(edited)
    with pytest.raises(UserError, match=r"stages/collect\.py was edited since"):
        prepare_upgrade()
    assert (project / "stages/collect.py").read_text() == edited
    assert (project / "stages/gone.py").is_file()  # what was not edited is back
    assert any(change.path == "stages/collect.py" for change in prepare_upgrade().changes)


def test_a_closed_terminal_takes_it_back(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(project)
    monkeypatch.setattr(upgrade, "make_plan", lambda: os.kill(os.getpid(), signal.SIGHUP))
    with pytest.raises(KeyboardInterrupt):
        plan_of(prepare_upgrade())
    assert contents(project) == before


@pytest.mark.parametrize("path", ["../outside.txt", "/tmp/outside.txt"])
def test_a_template_that_leaves_the_project_is_damaged(project: Path, path: str) -> None:
    record = json.loads((project / PRISTINE).read_text("utf-8"))
    record["files"][path] = "x"
    (project / PRISTINE).write_text(json.dumps(record))
    with pytest.raises(UserError, match="is damaged"):
        prepare_upgrade()


def test_an_older_privllm_is_no_upgrade(project: Path) -> None:
    record = json.loads((project / PRISTINE).read_text("utf-8"))
    (project / PRISTINE).write_text(json.dumps(record | {"version": "9.0.0"}))
    with pytest.raises(UserError, match="which is older"):
        prepare_upgrade()


def test_a_link_is_left_alone(project: Path) -> None:
    (project / "elsewhere.py").write_bytes((project / "stages/collect.py").read_bytes())
    (project / "stages/collect.py").unlink()
    (project / "stages/collect.py").symlink_to("../elsewhere.py")
    (change,) = [change for change in prepare_upgrade().changes if change.path == "stages/collect.py"]
    assert (change.kind, "a link" in change.note) == (KEPT, True)


def test_windows_line_ends_stay_and_do_not_conflict() -> None:
    change = merge("dvc.yaml", BASE, OURS.replace(b"\n", b"\r\n"), THEIRS)
    assert (change.kind, change.content) == (MERGED, b"A\r\nb\r\nc\r\nd\r\nE\r\n")


def test_files_that_git_does_not_have_are_named(project: Path) -> None:
    for words in (["init", "-q"], ["add", "-A"], ["-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=project, check=True)
    assert prepare_upgrade().uncommitted == []
    (project / "stages/collect.py").write_text("changed = 1\n")
    assert prepare_upgrade().uncommitted == ["stages/collect.py"]


def test_the_cost_fits_a_narrow_terminal() -> None:
    long_cause = Cause("code", "privllm.clean.pii.redact changed, " * 9, {})
    plan = Plan([PLAN.steps[1]._replace(causes=[long_cause])], [])
    assert [len(line) <= 80 for line in cost_lines(plan, 80)][1:] == [True]


def test_a_plan_without_work_says_so() -> None:
    assert list(cost_lines(Plan(PLAN.steps[:1], []))) == ["It rebuilds nothing."]


def test_where_no_project_is_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    (project / PRISTINE).write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        prepare_upgrade()
    (project / PRISTINE).unlink()
    with pytest.raises(UserError, match="`privllm init` did not make this project"):
        prepare_upgrade()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"there is no dvc\.yaml"):
        prepare_upgrade()


def test_an_upgrade_of_code_alone_is_seen_by_dvc(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of the template differs; the digest of the package's code does, and `fingerprint` depends on the file that has it."""
    CliRunner().invoke(app, ["upgrade", "--yes"])
    before = (project / PRISTINE).read_text("utf-8")
    monkeypatch.setattr(init, "package_code", lambda: "another")
    seen = []
    monkeypatch.setattr(upgrade, "make_plan", lambda: seen.append((project / PRISTINE).read_text("utf-8")) or PLAN)
    prepared = prepare_upgrade()
    assert prepared.changes == []
    plan_of(prepared)
    assert json.loads(seen[0])["code"] == "another"
    assert (project / PRISTINE).read_text("utf-8") == before
    upgrade.apply(prepared)
    assert json.loads((project / PRISTINE).read_text("utf-8"))["code"] == "another"
