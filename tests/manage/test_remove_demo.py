"""demo --remove: the demo's pages and tasks are gone, what people wrote stays to the byte, and a second time nothing happens."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from privllm.collect import demo
from privllm.core.errors import UserError
from privllm.manage.remove_demo import PARAMS, demo_tasks, remove_demo, without
from tests.workshop import ROOT, make_workshop

PAGE = "<!DOCTYPE html>\n<html><head><title>Python: module {}</title></head><body>what it says</body></html>"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """This repository's params.yaml, a page of the demo, one that is unfinished, and files of somebody's own."""
    (tmp_path / PARAMS).write_bytes((ROOT / PARAMS).read_bytes())
    folder = tmp_path / "data/sources" / demo.FOLDER
    (folder / "deep").mkdir(parents=True)
    for name in ("json", "json.decoder"):
        (folder / f"{name}.html").write_text(PAGE.format(name))
    (folder / ".csv.html").write_text(PAGE.format("csv"))
    for own in ("contract.txt", "notes.html", "deep/json.html"):
        (folder / own).write_text("<title>Ours</title>" if own == "notes.html" else PAGE.format("json"))
    (tmp_path / "data/sources/letter.txt").write_text("mine")
    return tmp_path


def files(root: Path) -> list[str]:
    return sorted(
        path.relative_to(root / "data/sources").as_posix()
        for path in (root / "data/sources").rglob("*")
        if path.is_file()
    )


def test_pages_and_tasks_go_and_all_else_stays(root: Path) -> None:
    before = (root / PARAMS).read_text("utf-8")
    old = yaml.safe_load(before)
    removed = remove_demo(root)
    assert (removed.pages, removed.tasks) == (
        3,
        ["tasks.derive.docstring", "tasks.derive.questions", "finetune.tasks.docstring", "finetune.tasks.questions"],
    )
    assert files(root) == ["demo/contract.txt", "demo/deep/json.html", "demo/notes.html", "letter.txt"]
    after = (root / PARAMS).read_text("utf-8")
    for section, key in (("tasks", "derive"), ("finetune", "tasks")):
        for name in ("docstring", "questions"):
            del old[section][key][name]
    assert yaml.safe_load(after) == old
    assert list(old["tasks"]["derive"]) == list(old["finetune"]["tasks"]) == ["gaps"], "it is made of any documents"
    lines, kept = before.splitlines(keepends=True), after.splitlines(keepends=True)
    cut = [line for line in lines if line not in kept]
    assert all(line.startswith("    ") for line in cut), "no comment or blank line outside the tasks"
    said = "\n".join(removed.lines())
    assert "3 pages of the demo were removed from data/sources/demo." in said
    assert "tasks.derive.docstring" in said
    assert "stay: " in said
    assert "notes.html" in said


def test_a_second_time_there_is_nothing_to_do(root: Path) -> None:
    remove_demo(root)
    before = (files(root), (root / PARAMS).read_bytes())
    again = remove_demo(root)
    assert (again.pages, again.tasks) == (0, [])
    assert list(again.lines())[-1] == "There is no demo here."
    assert (files(root), (root / PARAMS).read_bytes()) == before


def test_the_folder_goes_when_nothing_of_anybodys_is_in_it(root: Path) -> None:
    for own in ("contract.txt", "notes.html", "deep/json.html"):
        (root / "data/sources/demo" / own).unlink()
    (root / "data/sources/demo/deep").rmdir()
    remove_demo(root)
    assert not (root / "data/sources/demo").exists()
    assert (root / "data/sources").is_dir()


def test_the_demo_as_it_is_made_is_what_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "modules", lambda: ["json", "json.decoder", "os.path", "builtins", "xml"])
    sources = tmp_path / "data/sources"
    assert demo.build_demo(sources) == 5
    assert remove_demo(tmp_path).pages == 5
    assert list(sources.iterdir()) == []


def test_its_tasks_are_those_that_look_for_its_pages() -> None:
    derive = {"a": {"source": "^demo/x"}, "b": {"source": "^demonstrations/"}, "c": {"source": ""}, "d": None}
    tuned = {
        "one": {"data": "data/tasks/a.jsonl"},
        "two": {"data": "data/tasks/b.jsonl"},
        "a": {"data": "data/datasets/a.jsonl"},
    }
    assert demo_tasks({"tasks": {"derive": derive}, "finetune": {"tasks": tuned}}) == [
        "tasks.derive.a",
        "finetune.tasks.one",
    ]
    assert demo_tasks({}) == demo_tasks({"tasks": None, "finetune": {"tasks": None}}) == []


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a:\n  x:  # of x\n    k: 1\n\n  # of y\n  y: 2\nb: 3\n", "a:\n\n  # of y\n  y: 2\nb: 3\n"),
        ("a:  # all\n  x:\n    k: [1,\n      2]\n\nb: 3\n", "a: {}  # all\n\nb: 3\n"),
        ("a:\n  y: 1\n  x:\n    k:\n    - 1\n    # not 2\n    - 3", "a:\n  y: 1\n"),
        ("a:\n  x: |\n    words\n\n    more\n  y: 'it''s: fine'\n", "a:\n  y: 'it''s: fine'\n"),
    ],
)
def test_entries_are_cut_out_of_the_text(text: str, left: str) -> None:
    assert without(text, ["a.x"]) == left


@pytest.mark.parametrize(
    "text", ["a: {x: 1, y: 2}\n", "{a: {x: 1}}\n", "a:\n  ? x\n  : 1\n  y: 2\n", "a: &b\n  x: 1\n"]
)
def test_what_cannot_be_cut_is_refused_before_anything_is_removed(root: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"take a\.x out by hand"):
        without(text, ["a.x"])
    flow = yaml.safe_dump(yaml.safe_load((root / PARAMS).read_text("utf-8")), default_flow_style=True)
    (root / PARAMS).write_text(flow, "utf-8")
    before = files(root)
    with pytest.raises(UserError, match="by hand"):
        remove_demo(root)
    assert (files(root), (root / PARAMS).read_text("utf-8")) == (before, flow)


def test_the_command(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from privllm.cli.app import app

    monkeypatch.chdir(root)
    done = CliRunner().invoke(app, ["demo", "--remove"])
    assert (done.exit_code, done.stdout.splitlines()[0]) == (
        0,
        "3 pages of the demo were removed from data/sources/demo.",
    )
    assert CliRunner().invoke(app, ["demo", "--when-empty"]).exit_code == 0, (
        "the folder holds documents, so nothing happens"
    )
    assert "There is no demo here." in CliRunner().invoke(app, ["demo", "--remove"]).stdout
    assert not (root / "data/sources/demo/json.html").exists()


def test_a_build_of_other_documents_works_afterwards(tmp_path: Path) -> None:
    shop = make_workshop(tmp_path / "repo")
    ours = yaml.safe_load((ROOT / PARAMS).read_text("utf-8"))
    shop.set("tasks.derive.questions", ours["tasks"]["derive"]["questions"])
    shop.set("finetune.tasks", ours["finetune"]["tasks"])
    assert "finetune.tasks.questions" in shop.run("privllm", "demo", "--remove").stdout
    shop.repro("tasks")
    assert [path.name for path in (shop.root / "data/tasks").glob("*.jsonl")] == ["gaps.jsonl"]
    listed = shop.run("dvc", "stage", "list", "--name-only").stdout.split()
    assert [name for name in listed if name.startswith("finetune")] == ["finetune@gaps"]


def test_a_wrong_folder_of_sources_removes_nothing(tmp_path: Path) -> None:
    (tmp_path / PARAMS).write_bytes((ROOT / PARAMS).read_bytes())
    before = (tmp_path / PARAMS).read_bytes()
    with pytest.raises(UserError, match="nothing was removed"):
        remove_demo(tmp_path, Path("nowhere"))
    assert (tmp_path / PARAMS).read_bytes() == before
