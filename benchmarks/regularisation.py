"""What several epochs, dropout and weight decay do on a small corpus: the shipped loop, one change at a time, held-out bits per byte.

    python -m benchmarks.regularisation TEXT [--bytes 262144] [--width 128] [--only plain-1,plain-8] [--seeds 1]

TEXT is a UTF-8 file, cut into documents of about 2,000 characters at empty lines, a tenth of them held out by a hash. All arms of a number
of epochs take the same steps at most; the loop keeps the best weights and ends on a plateau, as in a build. One thread.
"""

import argparse
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from benchmarks.common import write_result
from privllm.core.base_model import NOTE, SCRATCH
from privllm.core.records import DEDUPED
from privllm.core.report import write_json
from privllm.core.seed import name_digest
from privllm.core.split import SplitConfig, split_of
from privllm.core.tables import write_table
from privllm.dedup.copied_runs import find_copied_runs
from privllm.models.config import CausalConfig
from privllm.tokens.copied_tokens import write_copied_tokens
from privllm.tokens.pack import PackConfig, pack
from privllm.tokens.vocabulary import TokenizerConfig
from privllm.tokens.vocabulary import train as learn_vocabulary
from privllm.train.config import CausalPretrain, PretrainConfig
from privllm.train.loop import Work
from privllm.train.pretrain import PretrainInputs, pretrain

DOCUMENT = 2000  # characters at least
CONTEXT = 128
VOCABULARY = 2048
ARMS: dict[str, dict[str, Any]] = {  # epochs, dropout, weight decay
    "plain-1": {"epochs": 1.0},
    "plain-2": {"epochs": 2.0},
    "plain-4": {"epochs": 4.0},
    "both-4": {"epochs": 4.0, "dropout": 0.1, "weight_decay": 1.0},
    "plain-8": {"epochs": 8.0},
    "dropout-8": {"epochs": 8.0, "dropout": 0.1},
    "decay-8": {"epochs": 8.0, "weight_decay": 1.0},
    "both-8": {"epochs": 8.0, "dropout": 0.1, "weight_decay": 1.0},
    "both-16": {"epochs": 16.0, "dropout": 0.2, "weight_decay": 1.0},
}


def write_corpus(text: str, root: Path) -> dict[str, Any]:
    """Write what `pretrain` reads, below `root`; return the report of `pack`."""
    documents, current = [], ""
    for paragraph in text.split("\n\n"):
        current += paragraph + "\n\n"
        if len(current) >= DOCUMENT:
            documents.append(current)
            current = ""
    ids = [name_digest(document) for document in documents]
    split = SplitConfig(0.1, 0.02)
    splits = [split_of(split, identifier) for identifier in ids]
    columns = {"id": ids, "source": ids, "text": documents, "cluster": ids, "split": splits}
    arrays = []
    for field in DEDUPED:
        values = columns.get(field.name, [None] * len(ids))
        arrays.append(pa.array(values, field.type))
    write_table(pa.Table.from_arrays(arrays, schema=DEDUPED), root / "dedup/00000.parquet")
    (root / "tokenizer").mkdir()
    vocabulary = learn_vocabulary(TokenizerConfig(vocabulary=VOCABULARY), documents)
    (root / "tokenizer/tokenizer.json").write_text(vocabulary, "utf-8")
    write_json(root / "start" / NOTE, {"start": SCRATCH})
    find_copied_runs(root / "dedup", root / "dedup/copied")
    packed = pack(PackConfig(context=CONTEXT), root / "dedup", root / "tokenizer", root / "pack")
    write_copied_tokens(root / "dedup", root / "tokenizer", root / "pack/copied")
    return packed


def trained(root: Path, cfg: CausalPretrain) -> dict[str, Any]:
    """Return the report of a pretraining on the corpus below `root`; the model is thrown away."""
    inputs = PretrainInputs(root / "pack", root / "guide", root / "tokenizer", root / "start")
    with tempfile.TemporaryDirectory() as folder:
        out, live, work = (Path(folder) / name for name in ("out", "live", "work"))
        return pretrain("causal", PretrainConfig(causal=cfg), inputs, out, live, Work(work, "benchmark"))


def run(root: Path, packed: dict[str, Any], width: int, arm: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return what one arm came to."""
    settings = dict(arm)
    model = CausalConfig(layers=4, width=width, heads=4, dropout=settings.pop("dropout", 0.0))
    cfg = replace(CausalPretrain(model=model, batch_size=8, seed=seed), **settings)
    report = trained(root, cfg)
    tokens_per_byte = packed["tokens"]["validation"] / packed["bytes"]["validation"]
    return {
        "bits_per_byte": round(report["validation_loss"] / math.log(2) * tokens_per_byte, 4),
        "train_loss": round(report["train_loss"], 3),
        "validation_loss": round(report["validation_loss"], 3),
        "best_step": report["best_step"],
        "steps": report["steps"],
        "stopped_by": report["stopped_by"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--bytes", type=int, default=2**18)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--only", default=",".join(ARMS))
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    print("| arm | seed | held-out bits per byte | nats a token, training and held-out | best of steps | ended by |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        text = args.text.read_bytes()[: args.bytes].decode("utf-8", "ignore")
        packed = write_corpus(text, Path(folder))
        for name in args.only.split(","):
            for seed in range(args.seeds):
                row = run(Path(folder), packed, args.width, ARMS[name], seed)
                rows.append({"arm": name, "seed": seed, **row})
                print(
                    f"| {name} | {seed} | {row['bits_per_byte']:.3f} | {row['train_loss']}, {row['validation_loss']} "
                    f"| {row['best_step']} of {row['steps']} | {row['stopped_by']} |",
                    flush=True,
                )
    write_result("regularisation", {"bytes": args.bytes, "width": args.width, "tokens": packed["tokens"], "rows": rows})


if __name__ == "__main__":
    main()
