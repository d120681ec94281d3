"""privllm's own wheel is built, given or remembered, never looked up; the documentation comes from a clone or the package."""

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from zipfile import ZipFile

import pytest

from privllm.core.errors import UserError
from privllm.project import package_wheel
from privllm.project.contents import copied_files, documentation_files
from privllm.project.package_wheel import documentation, own_wheel
from privllm.project.wheel_cache import sha256_of
from tests.project.tiny_packages import make_wheel
from tests.workshop import ROOT


class Installed:
    """What pip has noted of a distribution."""

    def __init__(self, url: str) -> None:
        self.noted = json.dumps({"url": url}) if url else None

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self.noted


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """privllm as a wheel installs it, outside of a clone."""
    monkeypatch.setattr(package_wheel, "CLONE", tmp_path / "site-packages")
    return monkeypatch


def written_by_builds() -> dict[Path, int]:
    """Return what setuptools leaves in a tree that it builds in, with its time."""
    return {path: path.stat().st_mtime_ns for name in ("build", "*.egg-info") for path in ROOT.glob(name)}


@pytest.mark.slow
def test_a_clone_builds_the_same_wheel_twice_and_nothing_is_written_into_it(tmp_path: Path) -> None:
    before = written_by_builds()
    first, second = own_wheel(None, tmp_path / "first"), own_wheel(None, tmp_path / "second")
    assert first.sha256 == second.sha256 == sha256_of(first.path)
    assert written_by_builds() == before
    with ZipFile(first.path) as wheel:
        names = set(wheel.namelist())
    assert {f"privllm/project/template/{path.as_posix()}" for path in copied_files(ROOT)} <= names
    assert {f"privllm/project/documentation/{path.as_posix()}" for path in documentation_files(ROOT)} <= names
    assert {"privllm/project/files/bundle-install.sh", "privllm/project/files/bundle-readme.md"} <= names


def test_the_wheel_that_pip_remembers_is_taken(tmp_path: Path, installed: pytest.MonkeyPatch) -> None:
    path = make_wheel(tmp_path / "with space", "privllm", "0.1.0")
    installed.setattr(package_wheel, "distribution", lambda name: Installed(path.as_uri()))
    wheel = own_wheel(None, tmp_path)
    assert (wheel.name, wheel.version, wheel.path) == ("privllm", "0.1.0", path)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "from an index or a folder of wheels"),
        ("file:///nowhere/privllm-0.1.0-py3-none-any.whl", "which is gone"),
        ("file:///nowhere", "which is gone"),
        ("https://localhost/privllm-0.1.0-py3-none-any.whl", "from an index or a folder of wheels"),
    ],
)
def test_a_wheel_that_is_gone_is_asked_for(tmp_path: Path, installed: pytest.MonkeyPatch, url: str, words: str) -> None:
    installed.setattr(package_wheel, "distribution", lambda name: Installed(url))
    with pytest.raises(UserError, match=rf"{words}: name its wheel, `privllm bundle --wheel"):
        own_wheel(None, tmp_path)


def test_what_was_never_installed_is_asked_for(tmp_path: Path, installed: pytest.MonkeyPatch) -> None:
    def distribution(name: str) -> Installed:
        raise PackageNotFoundError(name)

    installed.setattr(package_wheel, "distribution", distribution)
    with pytest.raises(UserError, match="name its wheel"):
        own_wheel(None, tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("privllm.zip", "no wheel's name"),
        ("other-1.0-py3-none-any.whl", "wheel of other"),
        ("privllm-1.0-py3-none-any.whl", "does not exist"),
    ],
)
def test_another_file_is_no_wheel_of_privllm(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        own_wheel(tmp_path / name, tmp_path)


def test_a_clone_has_its_pages_or_their_markdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (*package_wheel.BUILD_FILES, "CHANGELOG.md", "docs/guides/serve.md", "docs/pipeline.svg"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    monkeypatch.setattr(package_wheel, "CLONE", tmp_path)
    assert set(documentation()) == {"README.md", "CHANGELOG.md", "docs/guides/serve.md", "docs/pipeline.svg"}
    (tmp_path / "site/guides").mkdir(parents=True)
    (tmp_path / "site/guides/serve.html").touch()
    assert documentation() == {"guides/serve.html": tmp_path / "site/guides/serve.html"}


def test_a_package_has_the_markdown_that_its_wheel_brought(tmp_path: Path, installed: pytest.MonkeyPatch) -> None:
    installed.setattr(package_wheel, "DOCUMENTATION", tmp_path / "documentation")
    (tmp_path / "documentation/docs").mkdir(parents=True)
    (tmp_path / "documentation/docs/index.md").touch()
    assert documentation() == {"docs/index.md": tmp_path / "documentation/docs/index.md"}
