"""Fixtures; the helpers behind them are in tiny_corpus, which the tests import by name."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tiny_corpus import Corpus, make_corpus, tiny

from privllm.train.config import PretrainConfig


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return make_corpus(tmp_path)


@pytest.fixture
def cfg() -> PretrainConfig:
    return tiny()
