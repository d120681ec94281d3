"""Muon's work against what it is good for: held-out loss at equal steps, feed-forward matrices whole or in parts, two polynomials.

    python -m benchmarks.orthogonal_parts TEXT.txt [--steps 200] [--seeds 0 1] [--width 128] [--layers 3] [--context 128]

All arms of a seed begin with the same weights and see the same batches. Milliseconds are the processor's, of one optimiser step.
"""

import argparse
import time
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

import privllm.train.muon as muon
from benchmarks.common import write_result
from benchmarks.peer_corpus import split_lines
from benchmarks.step import loss_of
from privllm.core.special_tokens import own_ids
from privllm.models.config import CausalConfig
from privllm.models.loading import build
from privllm.tokens.vocabulary import TokenizerConfig
from privllm.tokens.vocabulary import train as learn_tokenizer
from privllm.train.config import CausalPretrain
from privllm.train.lightning_module import make_optimizer
from privllm.train.schedule import plan

JORDAN = ((3.4445, -4.7750, 2.0315),) * 3  # kellerjordan.github.io/posts/muon, three times, as we had it
SHIPPED = muon.COEFFICIENTS
ARMS = {"whole, Jordan's three": (False, JORDAN), "whole, two": (False, SHIPPED), "in parts, two": (True, SHIPPED)}
BATCH = 4


def make_arm(model: Any, cfg: CausalPretrain, in_parts: bool) -> muon.Muon:
    optimiser = make_optimizer(model, cfg)
    for group in optimiser.param_groups:
        if not in_parts and any(p.shape[0] != p.shape[1] for p in group["params"]) and group["muon"]:
            group["blocks"] = (1, 1)
    return optimiser


def run(
    arm: str, ids: dict[str, torch.Tensor], shape: CausalConfig, context: int, steps: int, seed: int
) -> dict[str, float]:
    """Return the held-out loss in nats a token after so many steps, and what an optimiser step took."""
    in_parts, muon.COEFFICIENTS = ARMS[arm]
    cfg = CausalPretrain(model=shape, seed=seed)
    model = build("causal", shape, own_ids(4096), context, seed).train()
    optimiser = make_arm(model, cfg, in_parts)
    schedule = plan(steps, cfg.warmup_steps, cfg.decay_fraction)
    chance = np.random.default_rng(seed)
    seconds = []
    for step in range(steps):
        starts = chance.integers(0, len(ids["train"]) - context - 1, BATCH)
        rows = torch.stack([ids["train"][start : start + context + 1] for start in starts])
        for group in optimiser.param_groups:
            group["lr"] = group["rate"] * cfg.learning_rate * schedule.factor(step)
        loss_of(model, rows[:, :-1], rows[:, 1:], "mean").backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), cfg.clip)
        begun = time.process_time()
        optimiser.step()
        seconds.append(time.process_time() - begun)
        optimiser.zero_grad()
    return {"loss": held_out_loss(model, ids["held_out"], context), "ms": 1e3 * sorted(seconds)[len(seconds) // 2]}


@torch.no_grad()
def held_out_loss(model: Any, ids: torch.Tensor, context: int) -> float:
    model.eval()
    tokens = len(ids[:-1]) // context * context
    inputs, labels = ids[:tokens].view(-1, context), ids[1 : tokens + 1].view(-1, context)
    pairs = zip(inputs.split(16), labels.split(16), strict=True)
    return sum(float(loss_of(model, *pair, "sum")) for pair in pairs) / tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--context", type=int, default=128)
    args = parser.parse_args()
    parts = split_lines(args.text.read_text("utf-8"))
    encoder = Tokenizer.from_str(learn_tokenizer(TokenizerConfig(), [parts["train"]]))
    ids = {part: torch.tensor(encoder.encode(text).ids) for part, text in parts.items()}
    shape = CausalConfig(layers=args.layers, width=args.width, heads=max(1, args.width // 64))
    runs: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for seed in args.seeds:
        for arm in ARMS:
            runs[arm].append(run(arm, ids, shape, args.context, args.steps, seed))
            print(f"seed {seed}  {arm:22}  {runs[arm][-1]['loss']:.4f} nats  {runs[arm][-1]['ms']:.1f} ms", flush=True)
    for arm, of in runs.items():
        print(
            f"{arm:22}  {mean(one['loss'] for one in of):.4f} nats a token, {mean(one['ms'] for one in of):.1f} ms a step"
        )
    write_result("orthogonal_parts", {"steps": args.steps, "runs": runs})


if __name__ == "__main__":
    main()
