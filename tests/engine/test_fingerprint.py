"""Keys follow the meaning of code: comments do not count, a helper three imports away does."""

import ast
import json
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.core.work_paths import MODULES_FILE
from privllm.engine.fingerprint import (
    _providers,
    canonical,
    check_fingerprint,
    distributions_below,
    fingerprint,
    foretell_fingerprints,
    installed_versions,
    locked_versions,
    resources_beside,
    write_fingerprints,
)
from privllm.engine.module_analysis import analysis_cache
from tests.workshop import ROOT

TREE = {
    "stages/a.py": "from privllm.one import run\nrun()\n",
    "stages/b.py": "import privllm.core.leaf\n",
    "privllm/__init__.py": "",
    "privllm/one.py": "def run():\n    from privllm import two\n    return two\n",
    "privllm/two.py": "from .three.deep import helper\nimport numpy as np\n",
    "privllm/three/__init__.py": "",
    "privllm/three/deep.py": 'def helper(x):\n    """Old words."""\n    return x + 1\n',
    "privllm/core/__init__.py": "",
    "privllm/core/leaf.py": "import json\n",
    "requirements.lock": "numpy==1.2.3 ; python_version > '3' \\\n    --hash=sha256:00\nunused==9\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def prints(root: Path) -> dict[str, str]:
    write_fingerprints(root, root / "data/fingerprint")
    return {path.stem: path.read_text() for path in sorted((root / "data/fingerprint").iterdir())}


def test_closure_follows_lazy_relative_and_package_imports(root: Path) -> None:
    assert set(fingerprint(root, "stages.a")["modules"]) == {
        "stages.a", "privllm", "privllm.one", "privllm.two", "privllm.three", "privllm.three.deep",
    }  # fmt: skip


def test_libraries_are_locked_versions(root: Path) -> None:
    assert fingerprint(root, "stages.a")["libraries"] == {"numpy": "1.2.3"}
    assert fingerprint(root, "stages.b")["libraries"] == {}


@pytest.mark.parametrize(
    "text",
    [
        "# new comment\ndef helper(x):\n    return x + 1\n",
        'def helper(x):\n\n    """New words."""\n    return (x\n      + 1)  # why\n',
    ],
)
def test_comments_docstrings_and_layout_do_not_count(root: Path, text: str) -> None:
    before = prints(root)
    (root / "privllm/three/deep.py").write_text(text)
    assert prints(root) == before


def test_a_helper_three_imports_away_counts_for_exactly_its_users(root: Path) -> None:
    before = prints(root)
    (root / "privllm/three/deep.py").write_text("def helper(x):\n    return x + 2\n")
    after = prints(root)
    assert after["a"] != before["a"]
    assert after["b"] == before["b"]


def test_fingerprints_carry_symbols(root: Path) -> None:
    found = fingerprint(root, "stages.a")
    assert found["symbols"].keys() == found["modules"].keys()
    assert set(found["symbols"]["privllm.three.deep"]) == {"<module>", "helper"}


def test_what_will_be_written_is_foretold_without_writing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prints(root)
    (root / "privllm/three/deep.py").write_text("def helper(x):\n    return x + 41\n")
    files = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    parsed: list[Path] = []
    monkeypatch.setattr(analysis_cache, "analyses", {})
    monkeypatch.setattr(
        "privllm.engine.module_analysis.parse_source", lambda data, path: parsed.append(path) or ast.parse(data)
    )
    foretold = foretell_fingerprints(root)
    assert parsed == [root / "privllm/three/deep.py"]
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == files
    assert {stage: json.loads(text) for stage, text in prints(root).items()} == foretold


def test_a_check_parses_nothing_that_is_remembered(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "requirements.lock").write_text("")
    prints(root)
    monkeypatch.setattr(analysis_cache, "analyses", {})
    monkeypatch.setattr(
        "privllm.engine.module_analysis.parse_source", lambda data, path: pytest.fail(f"{path} was parsed")
    )
    check_fingerprint("a", root)


def test_what_other_rules_understood_is_not_believed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prints(root)
    memory = root / MODULES_FILE
    memory.write_text(json.dumps({key.partition(" ")[2]: [[], "old"] for key in json.loads(memory.read_text())}))
    monkeypatch.setattr(analysis_cache, "analyses", {})
    assert foretell_fingerprints(root)["a"] == fingerprint(root, "stages.a")


def test_transitive_libraries_without_extras() -> None:
    below = distributions_below({"ftfy"})
    assert below == {"ftfy", "wcwidth"}


@pytest.mark.slow
def test_installed_modules_are_found_as_the_standard_library_finds_them() -> None:
    expected = {name: {canonical(dist) for dist in dists} for name, dists in packages_distributions().items()}
    # Python 3.12 names the folder of bytecode too, and 3.13 files without a suffix.
    for name in [
        name for name in expected if name == "__pycache__" or any((Path(entry) / name).is_file() for entry in sys.path)
    ]:
        del expected[name]
    assert {name: set(dists) for name, dists in _providers().items()} == expected


def test_lock_lines_with_markers_and_hashes(root: Path) -> None:
    assert locked_versions(root / "requirements.lock") == {"numpy": "1.2.3", "unused": "9"}


def test_check_refuses_other_code_libraries_and_python(root: Path) -> None:
    (root / "requirements.lock").write_text("")
    prints(root)
    check_fingerprint("a", root)
    path = root / "data/fingerprint/a.json"
    recorded = json.loads(path.read_text())
    path.write_text(json.dumps(recorded | {"libraries": {"numpy": "0.0.1"}}))
    with pytest.raises(UserError, match="make setup"):
        check_fingerprint("a", root)
    path.write_text(json.dumps(recorded | {"python": "2.7"}))
    with pytest.raises(UserError, match=r"Python 2\.7"):
        check_fingerprint("a", root)
    path.write_text(json.dumps(recorded))
    (root / "privllm/three/deep.py").write_text("helper = abs\n")
    with pytest.raises(UserError, match=r"privllm\.three\.deep"):
        check_fingerprint("a", root)
    path.unlink()
    with pytest.raises(UserError, match="dvc repro a"):
        check_fingerprint("a", root)


def test_a_syntax_error_names_file_and_line(root: Path) -> None:
    (root / "privllm/one.py").write_text("x = (\n")
    with pytest.raises(UserError, match=r"one\.py, line 1"):
        prints(root)


def test_a_template_beside_a_module_counts_as_code(tmp_path: Path) -> None:
    """The report page is written by one; dvc.yaml of a project cannot name a file inside the package."""
    folder = tmp_path / "privllm/report"
    folder.mkdir(parents=True)
    modules = {"privllm.report.page": folder / "page.py", "privllm": tmp_path / "privllm/__init__.py"}
    (folder / "page.html.j2").write_text("<p>")
    (folder / "notes.txt").write_text("not read")
    before = resources_beside(modules)
    assert list(before) == ["privllm.report/page.html.j2"]
    (folder / "page.html.j2").write_text("<b>")
    assert resources_beside(modules) != before
    assert "privllm.report/template.html.j2" in fingerprint(ROOT, "stages.report")["modules"]
    assert not [name for name in fingerprint(ROOT, "stages.collect")["modules"] if name.endswith(".j2")]


def test_in_a_project_another_package_than_was_fingerprinted_is_an_upgrade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/own.py").write_text("import privllm.core.seed\n")
    (tmp_path / "requirements.lock").write_text("numpy==1\n")
    content = fingerprint(tmp_path, "stages.own")
    content["modules"]["privllm.core.seed"] = "another meaning"
    (tmp_path / "data/fingerprint").mkdir(parents=True)
    (tmp_path / "data/fingerprint/own.json").write_text(json.dumps(content | {"extensions": [], "libraries": {}}))
    with pytest.raises(UserError, match="run `privllm upgrade`"):
        check_fingerprint("own", tmp_path)


def test_what_an_older_pip_installed_has_its_version_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = tmp_path / "site-packages"
    for name in ("antlr4_python3_runtime-4.9.3-py3.11.egg-info", "torch-2.13.0+cpu.dist-info"):
        (packages / name).mkdir(parents=True)
    (packages / "antlr4_python3_runtime-4.9.3-py3.11.egg-info/top_level.txt").write_text("antlr4\n")
    (packages / "distutils_made-1.0.egg-info").write_text("Name: distutils-made\n")
    monkeypatch.setattr("sys.path", [str(packages)])
    assert installed_versions.__wrapped__() == {
        "antlr4-python3-runtime": "4.9.3",
        "distutils-made": "1.0",
        "torch": "2.13.0",
    }
    assert _providers.__wrapped__() == {"antlr4": ["antlr4-python3-runtime"]}
