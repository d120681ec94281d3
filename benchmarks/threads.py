"""Two trainings on one machine: what they do together, beside what one does alone, with threads that sleep and with threads that spin.

    python -m benchmarks.threads [--seconds 20] [--rounds 3]

Each is a process of its own that trains the demo's causal model (6 layers of 256, context 256, batch 4) on random tokens with all cores.
Medians of the rounds, in which the cases take turns. Nothing else should run meanwhile.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

import privllm.core.threads as threads
from benchmarks.common import ROOT, write_result

BATCH, CONTEXT, VOCABULARY = 4, 256, 4096
SPIN = {"GOMP_SPINCOUNT": "300000"}  # what GNU's OpenMP takes by itself; since it is set, ours stays out
CASES = {"alone, spinning": (1, SPIN), "alone, sleeping": (1, {}), "two, spinning": (2, SPIN), "two, sleeping": (2, {})}


def train(seconds: float) -> None:
    """Say "ready", wait for a line, train for that long, and print tokens per second."""
    import torch

    from privllm.models.causal import CausalConfig
    from privllm.models.loading import build
    from privllm.train.config import TrainConfig
    from privllm.train.lightning_module import make_optimizer

    model = build("causal", CausalConfig(layers=6, width=256, heads=4), VOCABULARY, CONTEXT, 0)
    optimizer = make_optimizer(model, TrainConfig())

    def step() -> None:
        tokens = torch.randint(6, VOCABULARY, (BATCH, CONTEXT))
        optimizer.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()

    step()
    print("ready", flush=True)
    sys.stdin.readline()
    steps, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        step()
        steps += 1
    print(steps * BATCH * CONTEXT / (time.perf_counter() - begun))


def together(number: int, variables: dict[str, str], seconds: float) -> float:
    """Tokens per second of so many trainings that begin at once, all added up."""
    environment = {
        name: value for name, value in os.environ.items() if name not in (*threads.SLEEP, "OMP_NUM_THREADS")
    } | variables
    command = [sys.executable, "-m", "benchmarks.threads", "--train", str(seconds)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) for _ in range(number)]
    for process in running:
        assert process.stdout.readline() == "ready\n"
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    return sum(float(process.communicate()[0]) for process in running)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--train", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        train(args.train)
        return
    runs: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(args.rounds):
        for name, (number, variables) in CASES.items():
            runs[name].append(together(number, variables, args.seconds))
    medians = {name: statistics.median(speeds) for name, speeds in runs.items()}
    print(f"tokens/s, all together, median of {args.rounds} times {args.seconds:.0f} s")
    for name, speed in medians.items():
        print(f"  {name:16}  {speed:7.0f}  {min(runs[name]):7.0f} - {max(runs[name]):.0f}")
    pair, cost = (
        medians["two, sleeping"] / medians["alone, spinning"],
        1 - medians["alone, sleeping"] / medians["alone, spinning"],
    )
    print(f"  two that sleep / one that spins  {pair:.3f}  (must be >= 0.85)")
    print(f"  what sleeping costs one alone    {cost:.3f}  (must be <= 0.05)")
    write_result("threads", {"medians": medians, "pair": round(pair, 4), "cost_alone": round(cost, 4), "runs": runs})


if __name__ == "__main__":
    main()
