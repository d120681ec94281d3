import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from privllm.core.installed_version import installed_version

ROOT = Path(__file__).parents[2]


def test_it_is_the_version_of_this_repository() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert installed_version() == project["version"], "run `make setup`"


def test_what_is_not_installed_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", lacks)
    assert installed_version() is None
