"""Does masking guided by annotations help? Plain against guided whole-word masking, by part of speech, over seeds.

    python -m benchmarks.masking BUILD [--seeds 3] [--epochs 0.1]

BUILD is the folder of a repository in which `dvc repro guide` has run. Both arms train the same ModernBERT on the same rows in
the same order; only what is hidden differs. Both are scored alike (`evaluate.scoring`), on the whole test split. Where little is annotated
(`annotate.fraction`, `annotate.limit`) the arms differ little: the share of guided rows is printed.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.common import write_result
from privllm.evaluate.recipe import EvaluateConfig, EvaluateInputs, evaluate
from privllm.models.masking import MaskingConfig
from privllm.tokens.token_annotations import open_guide
from privllm.train.config import MaskedPretrain, PretrainConfig
from privllm.train.loop import Work
from privllm.train.pretrain import PretrainInputs, pretrain

ARMS = {
    "plain": MaskingConfig(),
    "guided": MaskingConfig(spans=0.5, weights_by_pos={"NOUN": 2.0, "PROPN": 2.0, "VERB": 2.0, "ADJ": 2.0, "NUM": 2.0}),
}


def run(data: Path, masking: MaskingConfig, seed: int, epochs: float) -> dict[str, Any]:
    """The evaluation report of one training."""
    cfg = PretrainConfig(masked=replace(MaskedPretrain(compile=False, seed=seed, epochs=epochs), masking=masking))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        inputs = PretrainInputs(data / "pack", data / "guide/masked", data / "tokenizer", data / "start/masked")
        pretrain("masked", cfg, inputs, out / "model", out / "live", Work(out / "work/masked", "benchmark"))
        scored = EvaluateInputs(
            out / "model", data / "tokenizer", data / "pack/test", data / "dedup", data / "annotate"
        )
        return evaluate(EvaluateConfig(bootstrap=0, samples=0), scored, "masked", out / "evaluate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=0.1)
    args = parser.parse_args()
    data = args.build / "data"
    guide = open_guide(data / "guide/masked/train")
    guided = guide.known() / len(guide)
    print(f"{guided:.0%} of {len(guide):,} training rows are annotated", flush=True)
    found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for seed in range(args.seeds):
        for arm, masking in ARMS.items():
            found[arm].append(run(data, masking, seed, args.epochs))
            print(f"seed {seed} {arm}: {found[arm][-1]['loss']:.4f} nats a token", file=sys.stderr, flush=True)
    rows = []
    names = ["all", *sorted(found["plain"][0]["by_pos"], key=lambda name: -found["plain"][0]["by_pos"][name]["tokens"])]
    for name in names:
        losses = {
            arm: [one["loss"] if name == "all" else one["by_pos"][name]["loss"] for one in found[arm]] for arm in ARMS
        }
        tokens = found["plain"][0]["tokens"] if name == "all" else found["plain"][0]["by_pos"][name]["tokens"]
        pairs = [guided - plain for plain, guided in zip(losses["plain"], losses["guided"], strict=True)]
        spread = stdev(pairs) if len(pairs) > 1 else 0.0
        means = {arm: round(mean(values), 4) for arm, values in losses.items()}
        rows.append(
            {"pos": name, "tokens": tokens, **means, "difference": round(mean(pairs), 4), "sd": round(spread, 4)}
        )
    print("| part of speech | test tokens | plain | guided | difference | sd over seeds |\n|---|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")
    write_result("masking", {"seeds": args.seeds, "epochs": args.epochs, "guided_rows": round(guided, 4), "rows": rows})


if __name__ == "__main__":
    main()
