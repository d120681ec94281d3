"""Extensions as the guide types them, in a project that `privllm init` makes: what each changes, and what it does."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from privllm.core.plain_yaml import parse_yaml
from privllm.core.tables import read_folder
from privllm.engine.extensions import KINDS, declared_extensions
from privllm.engine.fingerprint import foretell_fingerprints
from privllm.engine.pipeline import declared_stages
from privllm.feedback.records import to_line
from privllm.manage.forget import source_reader
from privllm.project.init import create_project
from tests.extend import GUIDE, TYPED, Extended, forget_extensions
from tests.feedback.said import rating
from tests.workshop import environment

PROSE = (
    "The harbour has two piers, and the longer of them ends at a small light that was built of granite in the year when the "
    "railway came to the town, so that boats which return late with their catch find the way between the rocks at night. "
)
SUBTITLE = "1\n00:00:01,000 --> 00:00:09,500\n"
STAGES = ("fingerprint", "collect", "clean", "feedback")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("extended") / "project"
    create_project(folder, use_git=False)
    for number in range(20):
        text = f"Part {number} by K-{100_000 + number}. {PROSE} {number * 7919}"
        (folder / f"data/sources/{number}.txt").write_text(text, "utf-8")
    (folder / "data/sources/loud.txt").write_text(f"{PROSE}Loud.".upper(), "utf-8")
    (folder / "data/sources/piers.srt").write_text(f"{SUBTITLE}{PROSE}Subtitle.", "utf-8")
    line = to_line(rating("ada", "Who is K-123456?", correction="K-123456 is a customer."))
    (folder / "data/feedback/said.jsonl").write_text(line, "utf-8")
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Extended:
    shutil.copytree(made, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return Extended(tmp_path / "project")


def run(project: Extended, *stages: str) -> None:
    """Run stages as dvc.yaml says, without DVC."""
    for stage in stages:
        command = declared_stages(project.root)[stage]["cmd"].split()
        done = project.run(*command[1:])
        assert done.returncode == 0, done.stderr


def outputs(root: Path) -> dict[str, Any]:
    """The documents, the dropped ones and the reports of the data stages."""
    tables = {
        name: read_folder(root / name).to_pylist() for name in ("data/collect", "data/clean", "data/clean/dropped")
    }
    reports = {name: json.loads((root / f"reports/{name}.json").read_text("utf-8")) for name in ("collect", "clean")}
    return {**tables, **reports}


def test_the_guide_has_a_file_of_each_kind_and_its_table_is_true(project: Extended) -> None:
    for path, text in TYPED.items():
        project.write(path, text)
    assert [kind for extension in declared_extensions() for kind in extension.names] == list(KINDS)
    for kind, stages in KINDS.items():
        row = next(line for line in GUIDE.splitlines() if line.startswith(f"| `{kind}` |"))
        assert row.endswith(f"| {', '.join(f'`{stage}`' for stage in stages)} |")


@pytest.mark.slow
@pytest.mark.parametrize("path", TYPED)
def test_an_extension_changes_exactly_the_stages_that_use_it(project: Extended, path: str) -> None:
    """Also an edit of it, and of what it imports; a comment changes none."""
    before = foretell_fingerprints(project.root)
    project.write(path, TYPED[path])
    (extension,) = declared_extensions()
    uses = {stage for kind in extension.names for stage in KINDS[kind]}
    added = foretell_fingerprints(project.root)
    assert changed(before, added) == uses
    project.write(path, f"{TYPED[path]}# A comment.\n")
    assert changed(added, foretell_fingerprints(project.root)) == set()
    project.write("extensions/shared.py", "MORE = 1\n", listed=False)
    project.write(path, f"{TYPED[path]}\nfrom extensions import shared\n")
    edited = foretell_fingerprints(project.root)
    assert changed(added, edited) == uses
    project.write("extensions/shared.py", "MORE = 2\n", listed=False)
    assert changed(edited, foretell_fingerprints(project.root)) == uses


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {stage for stage in before if before[stage] != after[stage]}


@pytest.mark.slow
def test_readers_rules_and_kinds_do_what_they_say_and_incremental_is_clean(project: Extended, tmp_path: Path) -> None:
    run(project, *STAGES)
    plain = outputs(project.root)
    assert plain["collect"]["quarantined"] == {"unsupported": 1}
    assert plain["clean"]["dropped"] == {}
    for name in ("subtitles", "shouting", "customers"):
        project.write(f"extensions/{name}.py", TYPED[f"extensions/{name}.py"])
    run(project, *STAGES)
    extended = outputs(project.root)
    assert extended["collect"]["by_media_type"] == {"application/x-subrip": 1, "text/plain": 21}
    assert extended["clean"]["dropped"] == {"shouting": 1}
    assert extended["clean"]["placeholders"] == {"CUSTOMER": 20}
    assert not any("K-10" in row["text"] for row in extended["data/clean"])
    said = "".join(path.read_text("utf-8") for path in (project.root / "data/feedback_clean").glob("*.jsonl"))
    assert "Who is <CUSTOMER>?" in said
    assert "K-123456" not in said
    fresh = Extended(tmp_path / "fresh")
    shutil.copytree(project.root, fresh.root, ignore=shutil.ignore_patterns(".privllm", "cache", "collect", "clean"))
    run(fresh, *STAGES)
    assert outputs(fresh.root) == extended
    project.list()
    run(project, *STAGES)
    assert outputs(project.root) == plain


@pytest.mark.slow
def test_a_broken_one_stops_every_stage_and_the_plan(project: Extended) -> None:
    project.write("extensions/subtitles.py", TYPED["extensions/subtitles.py"].replace('"application/x-subrip"}', "3}"))
    for command in (["-m", "privllm.cli", "plan"], declared_stages(project.root)["clean"]["cmd"].split()[1:]):
        done = project.run(*command)
        assert done.returncode == 1
        assert "extensions/subtitles.py, line 34: `subtitles` has the media type 3" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_dvc_runs_exactly_the_stages_that_the_plan_names(project: Extended) -> None:
    """An own rule, from the list in params.yaml to what DVC runs."""

    def dvc(*words: str) -> str:
        done = subprocess.run(
            ["dvc", *words],
            cwd=project.root,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        return done.stdout

    subprocess.run(["git", "init", "-q"], cwd=project.root, check=True)
    dvc("add", "-q", "data/sources")
    project.write("extensions/subtitles.py", TYPED["extensions/subtitles.py"])
    dvc("repro", "clean")
    project.write("extensions/shouting.py", TYPED["extensions/shouting.py"])
    plan = json.loads(project.run("-m", "privllm.cli", "plan", "clean", "--json").stdout)
    assert {step["stage"] for step in plan["stages"] if step["verdict"] == "runs"} == {"fingerprint", "clean"}
    says = [cause["says"] for step in plan["stages"] for cause in step["causes"]]
    assert "extensions.shouting is imported now" in says
    ran = [line.split("'")[1] for line in dvc("repro", "clean").splitlines() if line.startswith("Running stage")]
    assert ran == ["fingerprint", "clean"]
    assert json.loads((project.root / "reports/clean.json").read_text())["dropped"] == {"shouting": 1}
    (project.root / "data/sources/more.srt").write_text(f"{SUBTITLE}{PROSE}More.", "utf-8")
    assert "documents: 1 added (more.srt)" in project.run("-m", "privllm.cli", "plan", "clean").stdout
    (project.root / "data/sources/more.srt").unlink()
    audited = project.run("-m", "privllm.cli", "audit").stdout.splitlines()
    assert [line.split()[0] for line in audited if "the same bytes" in line] == ["collect", "clean"]


def test_forget_searches_for_what_own_readers_and_kinds_made(
    project: Extended, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("subtitles", "customers"):
        project.write(f"extensions/{name}.py", TYPED[f"extensions/{name}.py"])
    forget_extensions(monkeypatch)
    (project.root / "data/sources/piers.srt").write_text(f"{SUBTITLE}{PROSE}By K-123456.", "utf-8")
    ((_, (raw, clean, *_)),) = source_reader(Path())("piers.srt")
    assert raw.endswith("By K-123456.")
    assert clean.endswith("By <CUSTOMER>.")


def test_the_list_of_a_new_project_is_there_and_empty(project: Extended) -> None:
    """DVC refuses a stage whose parameter is missing."""
    assert parse_yaml((project.root / "params.yaml").read_text("utf-8"))["extensions"] == []
