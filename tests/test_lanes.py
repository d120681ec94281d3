"""Tests come into their lanes by themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import lanes
from tests.lanes import ROOT, imported_with, parsed_file


def lanes_in(request: pytest.FixtureRequest) -> set[str]:
    """The markers of the test that asks."""
    return {mark.name for mark in request.node.iter_markers()}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """It makes none, but `make_workshop(` stands in its source, and that is what is looked for."""
    return tmp_path


@pytest.fixture
def little_shop(tmp_path: Path) -> Path:
    """Nor does this one; `Workshop(` stands here."""
    return tmp_path


@pytest.fixture
def wrapped(shop: Path) -> Path:
    return shop


def test_which_asks_for_a_workshop_through_another_fixture(wrapped: Path, request: pytest.FixtureRequest) -> None:
    assert lanes_in(request) == {"build", "torch"}


def test_which_builds_without_training(little_shop: Path, request: pytest.FixtureRequest) -> None:
    assert lanes_in(request) == {"build"}


class Member:
    """It has a place in which it builds, and is made by a helper."""

    def place(self) -> str:
        return "Workshop("


def member() -> Member:
    return Member()


def test_whose_helper_has_a_class_that_builds(request: pytest.FixtureRequest) -> None:
    assert member().place()
    assert lanes_in(request) == {"build"}


@contextmanager
def quietly() -> Iterator[None]:
    yield


@quietly()
def test_whose_decorator_lies_in_another_file(request: pytest.FixtureRequest) -> None:
    assert member().place()
    assert lanes_in(request) == {"build"}


def test_which_needs_none(request: pytest.FixtureRequest) -> None:
    assert lanes_in(request) == set()


@pytest.mark.parametrize(
    ("path", "libraries"),
    [
        ("tests/train/test_pretrain.py", {"torch", "lightning"}),
        ("tests/evaluate/test_rules.py", {"torch"}),  # by the conftest.py beside it
        ("tests/evaluate/test_scoring.py", {"torch"}),
        ("tests/serve/test_auth.py", set()),
        ("tests/test_cli.py", set()),  # commands import it when they are called
        ("tests/core/test_seed.py", set()),
    ],
)
def test_libraries_are_followed_through_our_modules(path: str, libraries: set[str]) -> None:
    assert imported_with(str(ROOT / path)) & {"torch", "lightning"} == libraries


def test_what_a_function_or_a_condition_imports_is_not_imported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        "import a.b\nfrom c import d\nfrom privllm import core\nif x:\n    import e\ndef f():\n    import g\n"
    )
    assert parsed_file(file).imports == {"a.b", "c", "privllm", "privllm.core"}
    assert lanes.file_of("privllm.core") == ROOT / "privllm/core/__init__.py"
