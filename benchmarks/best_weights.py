"""Are the weights that a training keeps as good as those of a long one at a constant rate? On a plateau the loop goes back and decays.

    python -m benchmarks.best_weights TEXT [--bytes 100000 1000000] [--epochs 16] [--seeds 1]

TEXT is a UTF-8 file; its first bytes are cut into documents, a tenth of them held out, as in `benchmarks.regularisation`. The shipped loop
trains until a plateau ends it, or the epochs do. Then the same model is trained for three times the steps that this took, at the same rate
all along, and the lowest loss that it ever had on the same rows is found. Both are the loss of the whole clean validation split, in nats
a token, of the weights that are kept: at most 0.02 nats may lie between them. One thread.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import write_result
from benchmarks.regularisation import trained, write_corpus
from privllm.models.config import CausalConfig
from privllm.train.config import CausalPretrain

LAYERS, WIDTH, HEADS = 2, 64, 4  # small, so that 16 epochs take minutes
LONGER = 3  # times the steps, of the run at a constant rate
ALLOWED = 0.02  # nats a token
NEVER = 10**9  # validations without improvement: a plateau changes nothing


def compared(root: Path, shipped: CausalPretrain) -> dict[str, Any]:
    """Return what the shipped loop kept, and the best of a longer run at a constant rate."""
    kept = trained(root, shipped)
    constant = trained(root, replace(shipped, epochs=LONGER * kept["epochs"], decay_fraction=0.0, patience=NEVER))
    return {
        "kept": round(kept["validation_loss"], 4),
        "best_of_constant": round(constant["validation_loss"], 4),
        "difference": round(kept["validation_loss"] - constant["validation_loss"], 4),
        "kept_step": kept["best_step"],
        "steps": kept["steps"],
        "stopped_by": kept["stopped_by"],
        "best_step_of_constant": constant["best_step"],
        "steps_of_constant": constant["steps"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--bytes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--epochs", type=float, default=16.0)
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    content = args.text.read_bytes()
    rows = []
    print("| bytes | seed | kept, nats | best of constant rate | difference | kept step of steps | ended by |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for size in args.bytes:
        with tempfile.TemporaryDirectory() as folder:
            write_corpus(content[:size].decode("utf-8", "ignore"), Path(folder))
            for seed in range(args.seeds):
                model = CausalConfig(layers=LAYERS, width=WIDTH, heads=HEADS)
                row = compared(Path(folder), CausalPretrain(model=model, batch_size=8, epochs=args.epochs, seed=seed))
                rows.append({"bytes": size, "seed": seed, **row})
                print(
                    f"| {size:,} | {seed} | {row['kept']:.3f} | {row['best_of_constant']:.3f} at "
                    f"{row['best_step_of_constant']} of {row['steps_of_constant']} | {row['difference']:+.3f} "
                    f"(at most {ALLOWED}) | {row['kept_step']} of {row['steps']} | {row['stopped_by']} |",
                    flush=True,
                )
    write_result("best_weights", {"epochs": args.epochs, "rows": rows})


if __name__ == "__main__":
    main()
