"""A tiny packed corpus, its tokenizer, and a tiny model's configuration."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from privllm.core.base_model import NOTE, SCRATCH
from privllm.core.records import GUIDE, POS_TAGS, ROWS
from privllm.core.report import write_json
from privllm.core.tables import write_table
from privllm.models.causal import CausalConfig
from privllm.models.masked import MaskedConfig
from privllm.models.seq2seq import Seq2SeqConfig
from privllm.tokens.copied_tokens import COPIED_TOKENS
from privllm.tokens.rows import write_rows
from privllm.train.config import CausalPretrain, MaskedPretrain, PretrainConfig, Seq2SeqPretrain

VOCABULARY = 48
CONTEXT = 16


class Corpus(NamedTuple):
    rows: Path
    tokenizer: Path
    guide: Path
    start: Path


def write_split(
    folder: Path, shards: list[list[list[int]]], context: int = CONTEXT, names: list[str] | None = None
) -> None:
    """Each row is one document; `names` are those of the rows of a shard, where that matters."""
    for number, shard in enumerate(shards):
        ids = pa.array(shard, ROWS.field("input_ids").type)
        pieces = []
        for name, tokens in zip(names or [""] * len(shard), shard, strict=True):
            pieces.append([{"id": name, "row_start": 1, "document_start": 0, "tokens": len(tokens) - 1}])
        pieces_of_rows = pa.array(pieces, ROWS.field("pieces").type)
        write_rows(ids, pieces_of_rows, context, folder / f"{number:05d}.arrow")


def write_no_copies(packed: Path) -> None:
    write_table(COPIED_TOKENS.empty_table(), packed / "copied" / "00000.parquet")


def write_tokenizer(folder: Path, words: list[str]) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    folder.mkdir(parents=True)
    Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0])).save(
        str(folder / "tokenizer.json")
    )


def counting_rows(rows: int, seed: int) -> list[list[int]]:
    """Rows that count upwards from a random place: easy to learn, and the last one is short."""
    starts = np.random.default_rng(seed).integers(0, VOCABULARY - 2, rows)
    counted = [[int(2 + (start + i) % (VOCABULARY - 2)) for i in range(CONTEXT + 1)] for start in starts]
    return [*counted[:-1], counted[-1][:5]]


def make_corpus(folder: Path) -> Corpus:
    write_split(folder / "pack" / "train", [counting_rows(9, 0), [], counting_rows(14, 1)])
    write_split(folder / "pack" / "validation", [counting_rows(5, 2)])
    write_no_copies(folder / "pack")
    words = ["<|endoftext|>", "<|pad|>", "<|mask|>"] + [f"word{i}" for i in range(3, VOCABULARY)]
    write_tokenizer(folder / "tokenizer", words)
    return Corpus(
        folder / "pack",
        folder / "tokenizer",
        write_guide(folder / "guide", folder / "pack"),
        from_scratch(folder / "start"),
    )


def from_scratch(folder: Path) -> Path:
    write_json(folder / NOTE, {"start": SCRATCH})
    return folder


def write_guide(folder: Path, rows: Path) -> Path:
    """Every second token a noun, the others verbs, and every third row known; spans of two tokens."""
    for split in ("train", "validation"):
        for shard in sorted((rows / split).glob("*.arrow")):
            lengths = [
                len(tokens) for tokens in pa.ipc.open_stream(shard.read_bytes()).read_all()["input_ids"].to_pylist()
            ]
            pos = [
                [POS_TAGS.index(("NOUN", "VERB")[i % 2]) for i in range(n)] if row % 3 else []
                for row, n in enumerate(lengths)
            ]
            span = [[i // 2 if i % 4 < 2 else -1 for i in range(n)] if row % 3 else [] for row, n in enumerate(lengths)]
            write_table_stream(pa.table([pos, span], schema=GUIDE), folder / split / shard.name)
    return folder


def write_table_stream(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def tiny(**changes: object) -> PretrainConfig:
    values: dict = {
        "batch_size": 4,
        "epochs": 40 * 4 / 23,  # of its 23 rows: 40 steps
        "warmup_steps": 4,
        "validate_every": 6,
        "compile": False,
    }
    values |= changes
    return PretrainConfig(
        CausalPretrain(model=CausalConfig(layers=2, width=32, heads=2, dropout=0.1), **values),
        MaskedPretrain(
            model=MaskedConfig(layers=2, width=32, heads=2, local_attention=4, global_every=2, dropout=0.1), **values
        ),
        Seq2SeqPretrain(
            model=Seq2SeqConfig(encoder_layers=1, decoder_layers=1, width=32, heads=2, dropout=0.1), **values
        ),
    )


def as_json(path: Path) -> dict:
    return json.loads(path.read_text("utf-8"))
