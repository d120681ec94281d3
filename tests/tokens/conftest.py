"""A small corpus as dedup leaves it, and a tokenizer learnt on it."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from privllm.core.records import DEDUPED, document_id, shard_name, shard_of
from privllm.core.split import SplitConfig, split_of
from privllm.core.tables import write_table
from privllm.tokens.vocabulary import TokenizerConfig, learn_tokenizer
from privllm.tokens.vocabulary_sample import SampleConfig, write_sample

WORDS = ["the", "a", "café", "model", "build", "shard", "token", "house", "über", "private", "lake", "数据", "naïve"]
WORDS += ["running", "runner", "def", "return", "for", "in", "42", "1984", "🦉", "it's", "HTTPServer", "co-operate"]
SPLIT = SplitConfig(validation=0.2, test=0.2)
SMALL = TokenizerConfig(vocabulary=400)
SAMPLED = SampleConfig(megabytes=0.02)


def make_texts(count: int) -> dict[str, str]:
    """Source name -> text; a pure function of `count`."""
    draw = random.Random(7)
    return {
        f"notes/{n}.txt": " ".join(draw.choices(WORDS, k=draw.randint(5, 120))) + f".\n    x = {n}\n<EMAIL>"
        for n in range(count)
    }


def write_deduped(folder: Path, texts: dict[str, str], bits: int = 2, split: SplitConfig = SPLIT) -> Path:
    """Shards of DEDUPED, each document its own cluster."""
    rows: list[dict[str, Any]] = []
    for source, text in texts.items():
        identifier = document_id(source)
        row = {
            "id": identifier,
            "cluster": identifier,
            "split": split_of(split, identifier),
            "source": source,
            "media_type": "text/plain",
            "digest": "",
            "text": text,
        }
        rows.append(row | {"language": "en", "language_score": 1.0, "placeholders": 1})
    for index in range(2**bits):
        shard = sorted((row for row in rows if shard_of(row["id"], bits) == index), key=lambda row: row["id"])
        write_table(pa.Table.from_pylist(shard, schema=DEDUPED), folder / shard_name(index))
    return folder


@pytest.fixture(scope="session")
def corpus() -> dict[str, str]:
    return make_texts(120)


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    return write_deduped


@pytest.fixture(scope="session")
def split() -> SplitConfig:
    return SPLIT


@pytest.fixture(scope="session")
def small() -> TokenizerConfig:
    return SMALL


@pytest.fixture(scope="session")
def deduped(tmp_path_factory: pytest.TempPathFactory, corpus: dict[str, str]) -> Path:
    return write_deduped(tmp_path_factory.mktemp("dedup"), corpus)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory, deduped: Path) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(SAMPLED, deduped, folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    learn_tokenizer(SMALL, sample, folder)
    return folder
