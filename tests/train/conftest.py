"""Fixtures; the helpers behind them are in tiny_corpus, which the tests import by name."""

from pathlib import Path

import pytest

from privllm.train.config import PretrainConfig
from tests.train.tiny_corpus import Corpus, make_corpus, tiny
from tests.train.two_processes import Unbroken


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return make_corpus(tmp_path)


@pytest.fixture
def cfg() -> PretrainConfig:
    return tiny()


@pytest.fixture(scope="package")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    folder = tmp_path_factory.mktemp("unbroken")
    return Unbroken(make_corpus(folder / "corpus"), folder)
