"""LoRA beside transformers and peft: `python -m benchmarks.lora [--size smollm2] [--steps 14] [--rounds 3]`.

The loop that `pretrain` runs on a base model, and peft's model in a plain loop (`benchmarks.gpu` has both), on the same shape, rows and
adapters, in turn, each in a process of its own. Random weights take as long as learnt ones. Prints medians and ratios as one JSON line.
"""

import argparse
import json
from statistics import median
from typing import Any

from benchmarks.common import write_result
from benchmarks.gpu import SIZES, WARM, alone, device_name


def compare(size: str, steps: int, rounds: int) -> dict[str, Any]:
    """Return medians of tokens/s and of peak memory, ours over peft's."""
    seen: dict[str, list[dict[str, float]]] = {"ours_lora": [], "peft": []}
    for _ in range(rounds):
        for name, runs in seen.items():
            runs.append(alone(f"{name}:{size}", steps))
    middle = {
        name: {key: median(run[key] for run in runs) for key in ("tokens_per_second", "peak_gib")}
        for name, runs in seen.items()
    }
    ratios = {key: round(value / middle["peft"][key], 3) for key, value in middle["ours_lora"].items()}
    return {"device": device_name(), "size": size, "steps": steps, "rounds": rounds, **middle, "ours / peft": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="smollm2", choices=list(SIZES))
    parser.add_argument("--steps", type=int, default=WARM + 4)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    found = compare(args.size, args.steps, args.rounds)
    write_result("lora", found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
