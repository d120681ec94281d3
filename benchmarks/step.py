"""One training step by its parts, beside a matrix product of the same job: `python -m benchmarks.step [--rounds 15] [--vocabulary 4096]`.

In turn, so that a noisy machine is equally noisy for all: a product of two 2048 x 2048 matrices (sgemm), our forward and backward pass
and our optimiser, and stock transformers' forward and backward pass with torch's fused AdamW. Medians of processor seconds, all threads
together, so that other work on the machine counts little. FLOP are those of the matrix products, and half of a full attention matrix.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from benchmarks.common import write_result
from privllm.core.special_tokens import own_ids
from privllm.models.causal import CausalConfig, next_token_loss
from privllm.models.config import inner_width
from privllm.models.lean_blocks import lean_blocks
from privllm.models.loading import build
from privllm.train.config import CausalPretrain
from privllm.train.lightning_module import make_optimizer

LAYERS, WIDTH, HEADS, CONTEXT, BATCH = 6, 256, 4, 256, 4
GEMM = 2048  # rows and columns


def flop_of(cfg: CausalConfig, vocabulary: int) -> float:
    """Return the floating-point operations of a forward and backward pass: three products of each matrix, and of attention's two."""
    feedforward = inner_width(cfg.feedforward, cfg.width)
    weights = cfg.layers * (4 * cfg.width**2 + 3 * cfg.width * feedforward) + vocabulary * cfg.width
    tokens = BATCH * CONTEXT
    attention = cfg.layers * BATCH * 2 * 2 * CONTEXT**2 * cfg.width / 2
    return 3 * (2 * tokens * weights + attention)


def loss_of(model: Any, inputs: torch.Tensor, labels: torch.Tensor, reduction: str) -> torch.Tensor:
    """Return the loss on rows that each hold one document."""
    positions = torch.arange(inputs.shape[1]).expand(len(inputs), -1)
    return next_token_loss(model, (inputs, positions, labels), reduction)


def seconds_of(work: Callable[[], Any]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


class Arm:
    """A model, its optimiser, and the processor seconds of the parts of its steps."""

    def __init__(self, vocabulary: int, is_ours: bool) -> None:
        cfg = CausalPretrain()
        self.model = build(
            "causal", CausalConfig(layers=LAYERS, width=WIDTH, heads=HEADS), own_ids(vocabulary), CONTEXT, 0
        ).train()
        self.is_ours = is_ours
        if is_ours:
            self.optimiser: torch.optim.Optimizer = make_optimizer(self.model, cfg)
        else:
            self.model.set_attn_implementation("sdpa")
            self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.seconds: dict[str, list[float]] = {"passes": [], "clip": [], "optimiser": []}

    def step(self, tokens: torch.Tensor) -> None:
        with lean_blocks(self.model) if self.is_ours else nullcontext():
            self.seconds["passes"].append(seconds_of(lambda: self._loss(tokens).backward()))
        parameters = list(self.model.parameters())
        self.seconds["clip"].append(seconds_of(lambda: torch.nn.utils.clip_grad_norm_(parameters, 1.0)))
        self.seconds["optimiser"].append(seconds_of(self.optimiser.step))
        self.optimiser.zero_grad()

    def _loss(self, tokens: torch.Tensor) -> torch.Tensor:
        if self.is_ours:
            return loss_of(self.model, tokens[:, :-1], tokens[:, 1:], "mean")
        return self.model(input_ids=tokens[:, :-1], labels=tokens[:, :-1]).loss

    def medians(self) -> dict[str, float]:
        return {part: statistics.median(seconds) for part, seconds in self.seconds.items()}


def measure(rounds: int, vocabulary: int) -> dict[str, Any]:
    torch.manual_seed(0)
    left, right = torch.randn(GEMM, GEMM), torch.randn(GEMM, GEMM)
    tokens = torch.randint(6, vocabulary, (BATCH, CONTEXT + 1))
    arms = {"ours": Arm(vocabulary, is_ours=True), "stock and AdamW": Arm(vocabulary, is_ours=False)}
    products = []
    for _ in range(rounds):
        products.append(seconds_of(lambda: left @ right))
        for arm in arms.values():
            arm.step(tokens)
    sgemm = 2 * GEMM**3 / statistics.median(products[1:])
    flop = flop_of(CausalConfig(layers=LAYERS, width=WIDTH, heads=HEADS), vocabulary)
    parts = {name: arm.medians() for name, arm in arms.items()}
    ours, stock = (sum(parts[name].values()) for name in arms)
    return {
        "sgemm_gflops": round(sgemm / 1e9, 1),
        "milliseconds": {name: {part: round(1e3 * s, 1) for part, s in of.items()} for name, of in parts.items()},
        "flops_over_sgemm": {name: round(flop / of["passes"] / sgemm, 3) for name, of in parts.items()},
        "speed_ours_over_stock": round(stock / ours, 3),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--vocabulary", type=int, default=4096)
    args = parser.parse_args()
    found = measure(args.rounds, args.vocabulary)
    write_result("step", found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
