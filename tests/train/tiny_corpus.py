"""A tiny packed corpus, its tokenizer, and a tiny model's configuration."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from privllm.core.records import ROWS
from privllm.model.causal import CausalConfig
from privllm.tokens.rows import write_rows
from privllm.train.config import PretrainConfig

VOCABULARY = 48
CONTEXT = 16


class Corpus(NamedTuple):
    rows: Path
    tokenizer: Path


def write_split(folder: Path, shards: list[list[list[int]]], context: int = CONTEXT) -> None:
    for number, shard in enumerate(shards):
        ids = pa.array(shard, ROWS.field("input_ids").type)
        pieces = pa.array([[]] * len(shard), ROWS.field("pieces").type)
        write_rows(ids, pieces, context, folder / f"{number:05d}.arrow")


def write_tokenizer(folder: Path, words: list[str]) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    folder.mkdir(parents=True)
    Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0])).save(str(folder / "tokenizer.json"))


def counting_rows(rows: int, seed: int) -> list[list[int]]:
    """Rows that count upwards from a random place: easy to learn, and the last one is short."""
    starts = np.random.default_rng(seed).integers(0, VOCABULARY - 2, rows)
    counted = [[int(2 + (start + i) % (VOCABULARY - 2)) for i in range(CONTEXT + 1)] for start in starts]
    return [*counted[:-1], counted[-1][:5]]


def make_corpus(folder: Path) -> Corpus:
    write_split(folder / "pack" / "train", [counting_rows(9, 0), [], counting_rows(14, 1)])
    write_split(folder / "pack" / "validation", [counting_rows(5, 2)])
    words = ["<|endoftext|>", "<|pad|>"] + [f"word{i}" for i in range(2, VOCABULARY)]
    write_tokenizer(folder / "tokenizer", words)
    return Corpus(folder / "pack", folder / "tokenizer")


def tiny(**changes: object) -> PretrainConfig:
    values: dict = {
        "batch_size": 4,
        "max_tokens": 40 * 4 * CONTEXT,
        "warmup_steps": 4,
        "validate_every": 6,
        "checkpoint_every": 8,
        "compile": False,
    }
    return PretrainConfig(CausalConfig(layers=2, width=32, heads=2, attention_dropout=0.1), **(values | changes))


def as_json(path: Path) -> dict:
    return json.loads(path.read_text("utf-8"))
