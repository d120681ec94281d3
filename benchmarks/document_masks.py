"""Does attention that stops at documents help, and what does it cost? Three ways to fill rows, over contexts and seeds.

    python -m benchmarks.document_masks BUILD [--contexts 256,1024] [--seeds 1] [--tokens 100000] [--bytes 1000]

BUILD is the folder of a repository in which `dvc repro pack` has run. Its documents are cut at line breaks into documents of
about `--bytes`; every tenth document, before it is cut, is held out.

    stream      documents one after the other, cut every `context` tokens; attention sees all of a row
    best fit    rows of `tokens.pack`; attention sees all of a row
    masked      rows of `tokens.pack`; attention stops at documents, as in a build

All arms train the same model for equally many tokens at equal rates. Held-out documents are scored one by one, their ends too.
Seconds are of processor time, so that what else the machine does counts little.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from benchmarks.common import write_result
from privllm.core.records import PIECE
from privllm.core.seed import name_digest
from privllm.core.special_tokens import END_OF_TEXT, own_ids
from privllm.core.tables import read_folder
from privllm.models.config import CausalConfig
from privllm.models.loading import build
from privllm.models.vocabulary import IGNORED
from privllm.tokens.encode import Encoder
from privllm.tokens.pack import pack_rows
from privllm.tokens.rows import Rows, open_rows, write_rows
from privllm.tokens.special_ids import special_ids
from privllm.train.batches import Batch
from privllm.train.config import CausalPretrain
from privllm.train.loop import Work, train
from privllm.train.pretrain_objectives import NextToken, Split

POSITIONS = 1024  # of a batch, whatever the context
HELD_OUT = 10  # one of so many documents


class Corpus(NamedTuple):
    """Tokens of the documents to train on, and of those held out with their bytes of text."""

    train: list[np.ndarray]
    held_out: list[np.ndarray]
    held_out_bytes: int


class AcrossDocuments(NextToken):
    """The same rows, without document masks."""

    def make(self, split: Split, indices: np.ndarray, chance: np.random.Generator) -> Batch:
        inputs, positions, labels = super().make(split, indices, chance)
        return inputs, torch.arange(inputs.shape[1]).expand_as(positions).contiguous(), labels


def passages(text: str, size: int) -> Iterator[str]:
    """Yield a text in pieces of at least `size` characters, cut at line breaks; the last may be shorter."""
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        lines.append(line)
        if sum(map(len, lines)) >= size:
            yield "".join(lines)
            lines = []
    if lines:
        yield "".join(lines)


def read_corpus(data: Path, size: int) -> Corpus:
    train_texts, held_out_texts = [], []
    table = read_folder(data / "dedup", ["id", "text"])
    for identifier, text in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True):
        is_held_out = int(name_digest("held out", identifier), 16) % HELD_OUT == 0
        (held_out_texts if is_held_out else train_texts).extend(passages(text, size))
    train_texts.sort(key=lambda text: name_digest("order", text))  # a passage's neighbours are strangers
    encoder = Encoder.open(data / "tokenizer")
    held_out_bytes = sum(len(text.encode()) for text in held_out_texts)
    return Corpus(encoder.encode(train_texts), encoder.encode(held_out_texts), held_out_bytes)


def write_best_fit(documents: list[np.ndarray], context: int, folder: Path) -> Rows:
    ids = pa.array([str(number) for number in range(len(documents))], pa.string())
    packed = pack_rows(documents, ids, context, SPECIAL)
    write_rows(packed.input_ids, packed.pieces, context, folder / "00000.arrow")
    return open_rows(folder)


def write_stream(documents: list[np.ndarray], context: int, folder: Path) -> Rows:
    """Write rows as one stream of all documents is cut; for a reader each is one chunk."""
    boundary = np.array([END_OF_TEXT], np.int32)
    stream = np.concatenate([boundary, *(part for tokens in documents for part in (tokens, boundary))])
    rows = [stream[start : start + context + 1].tolist() for start in range(0, len(stream) - 1, context)]
    pieces = [[{"id": "", "row_start": 1, "document_start": 0, "tokens": len(row) - 1}] for row in rows]
    write_rows(pa.array(rows, pa.list_(pa.int32())), pa.array(pieces, pa.list_(PIECE)), context, folder / "00000.arrow")
    return open_rows(folder)


SPECIAL = own_ids(4096)


def measure(arm: str, corpus: Corpus, vocabulary: int, context: int, seed: int, tokens: int) -> dict[str, Any]:
    shape = CausalConfig(layers=3, width=128, heads=2)
    batch_size = POSITIONS // context
    cfg = CausalPretrain(model=shape, batch_size=batch_size, seed=seed, validate_every=10**6, validation_rows=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write = write_stream if arm == "stream" else write_best_fit
        rows = write(corpus.train, context, folder / "train")
        held_out = write_best_fit(corpus.held_out, context, folder / "held_out")
        objective_class = NextToken if arm == "masked" else AcrossDocuments
        model = build("causal", shape, own_ids(vocabulary), context, seed)
        one_row = Split(open_rows(folder / "held_out"))
        objective = objective_class(model, cfg, Split(rows), one_row, {})
        began = time.process_time()
        steps = math.ceil(tokens / POSITIONS)
        train(objective, cfg, steps, folder / "live", Work(folder / "work", "benchmark"), "benchmark")
        seconds = time.process_time() - began
        judge = NextToken(model.eval(), cfg, Split(held_out), Split(held_out), SPECIAL)
        nats, labels = 0.0, 0
        with torch.no_grad():
            for start in range(0, len(held_out), 4):
                indices = np.arange(start, min(start + 4, len(held_out)))
                batch = judge.make(Split(held_out), indices, np.random.default_rng(0))
                nats += float(judge.loss(batch, "sum"))
                labels += int((batch[-1] != IGNORED).sum())
    assert labels == sum(len(document) + 1 for document in corpus.held_out)
    return {
        "arm": arm,
        "context": context,
        "seed": seed,
        "rows": len(rows),
        "bits_per_byte": round(nats / math.log(2) / corpus.held_out_bytes, 4),
        "tokens_per_s": round(steps * POSITIONS / seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path)
    parser.add_argument("--contexts", default="256,1024")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--bytes", type=int, default=1000)
    args = parser.parse_args()
    corpus = read_corpus(args.build / "data", args.bytes)
    vocabulary = special_ids(args.build / "data/tokenizer").size
    lengths = [len(document) for document in corpus.train]
    print(f"{len(lengths):,} documents of {mean(lengths):.0f} tokens, {len(corpus.held_out):,} held out", flush=True)
    results = []
    for seed in range(args.seeds):
        for context in map(int, args.contexts.split(",")):
            for arm in ("stream", "best fit", "masked"):
                results.append(measure(arm, corpus, vocabulary, context, seed, args.tokens))
                print(json.dumps(results[-1]), flush=True)
    write_result("document_masks", {"documents": len(lengths), "tokens": args.tokens, "runs": results})


if __name__ == "__main__":
    main()
