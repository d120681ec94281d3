"""Extensions are found by reading: what a module holds, its lines, and what is refused with them."""

import re
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.engine.extensions import (
    KINDS,
    Extensions,
    declared_extensions,
    extensions_for,
    modules_of_stage,
    read_extension,
)
from tests.extend import Extended, make_extended

RULE = 'def rule(text, language):\n    return None\n\n\nQUALITY_RULES = {\n    "rule": rule,\n}\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Extended:
    return make_extended(tmp_path / "project", monkeypatch)


def test_a_module_is_read_and_not_run(project: Extended) -> None:
    project.write("extensions/deep/er/house.py", f"{RULE}PERSONAL_DATA: dict = {{}}\nraise SystemExit(7)\n")
    (extension,) = declared_extensions()
    assert extension.module == "extensions.deep.er.house"
    assert extension.names == {"QUALITY_RULES": {"rule": 6}, "PERSONAL_DATA": {}}
    assert extension.place("QUALITY_RULES", "rule") == "extensions/deep/er/house.py, line 6"


def test_modules_by_kind_and_by_stage(project: Extended) -> None:
    for kind in KINDS:
        project.write(f"extensions/{kind.lower()}.py", f"{kind} = {{}}\n")
    extensions = declared_extensions()
    assert extensions_for("READERS") == Extensions("", ("extensions.readers",))
    assert modules_of_stage(extensions, "clean") == ("extensions.quality_rules", "extensions.personal_data")
    assert modules_of_stage(extensions, "feedback") == ("extensions.personal_data",)
    assert modules_of_stage(extensions, "pack") == ()


def test_a_folder_without_a_list_has_none(tmp_path: Path) -> None:
    assert declared_extensions(tmp_path) == []
    (tmp_path / "params.yaml").write_text("clean: {}\n")
    assert declared_extensions(tmp_path) == []


@pytest.mark.parametrize(
    "value", ["extensions/house.py", "{a: 1}", "[1]", "[extensions/a.py, extensions/a.py]", "null"]
)
def test_the_list_must_be_a_list_of_files(tmp_path: Path, value: str) -> None:
    (tmp_path / "params.yaml").write_text(f"clean: {{}}\nextensions: {value}\n")
    with pytest.raises(UserError, match=r"params.yaml, line 2\) must be a list of files, each once"):
        declared_extensions(tmp_path)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "rules.py",
            "extensions",
            "extensions/house.txt",
            "extensions/a-b.py",
            "extensions/class.py",
            "stages/clean.py",
        ),
        *(
            "../extensions/a.py",
            "extensions/../a.py",
            "/extensions/a.py",
            "extensions//a.py",
            "extensions/__init__.py",
            "",
        ),
    ],
)
def test_a_path_must_be_a_module_below_extensions(project: Extended, path: str) -> None:
    project.list(path)
    with pytest.raises(UserError, match=r"line 1\) names `.*`: it must be a module below extensions/"):
        declared_extensions()


def test_a_missing_file_and_a_link_out_of_the_project_are_refused(project: Extended) -> None:
    project.list("extensions/house.py")
    with pytest.raises(UserError, match=r"names `extensions/house.py`, which is missing"):
        declared_extensions()
    (project.root.parent / "elsewhere.py").write_text(RULE)
    (project.root / "extensions").mkdir()
    (project.root / "extensions/house.py").symlink_to(project.root.parent / "elsewhere.py")
    with pytest.raises(UserError, match="leads out of the project"):
        declared_extensions()


@pytest.mark.parametrize(
    ("code", "line", "fault"),
    [
        ("x = 1\nREADERS = dict(a=1)\n", 2, "must be assigned once, at the top level, as a dict"),
        ("READERS = {}\nREADERS = {}\n", 2, "must be assigned once"),
        ("READERS = {}\nREADERS['a'] = 1\n", 2, "must be assigned once"),
        ("if True:\n    READERS = {}\n", 2, "must be assigned once"),
        ("READERS: dict\n", 1, "must be assigned once"),
        ("READERS |= {}\n", 1, "must be assigned once"),
        ("READERS, x = {}, 1\n", 1, "must be assigned once"),
        ("for READERS in []: pass\n", 1, "must be assigned once"),
        ("def READERS(): pass\n", 1, "must be assigned once"),
        ("from x import y as READERS\n", 1, "must be assigned once"),
        ("READERS = {}\ndel READERS\n", 2, "must be assigned once"),
        ("NAME = 'a'\nREADERS = {\n    NAME: 1}\n", 3, "must be a text that is written out"),
        ("READERS = {\n  'a': 1, **{}}\n", 1, "must be a text that is written out"),
        ("READERS = {'a': 1,\n  'a': 2}\n", 2, "`a` stands in `READERS` twice"),
        ("READERS = {}\nQUALITY_RULE = {}\n", 2, "did you mean `QUALITY_RULES`"),
        ("READERS = {\n", 1, "was never closed"),
    ],
)
def test_a_dict_that_is_not_written_out_is_refused_with_its_line(
    project: Extended, code: str, line: int, fault: str
) -> None:
    project.write("extensions/house.py", code)
    with pytest.raises(UserError, match=re.escape("house.py, line ") + f"{line}: .*{fault}"):
        read_extension("extensions/house.py")


def test_a_module_that_extends_nothing_is_refused(project: Extended) -> None:
    project.write("extensions/house.py", "readers = {}\n")
    with pytest.raises(UserError, match=r"extensions/house.py assigns none of READERS, .* at its top level"):
        declared_extensions()


def test_a_name_that_two_modules_have_is_refused_with_both_places(project: Extended) -> None:
    project.write("extensions/a.py", RULE)
    project.write("extensions/b.py", f"\n{RULE}")
    with pytest.raises(
        UserError, match=r"extensions/b.py, line 7: the name `rule` .* taken, by extensions/a.py, line 6"
    ):
        declared_extensions()
