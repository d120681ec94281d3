"""What of a GPU's speed a training gets: `python -m benchmarks.gpu [--sizes 124M 350M 1.5B] [--steps 40] [--tiny]`. Prints one JSON line.

Everything is timed in this one job on this one card, each training in a process of its own:

    product     FLOP/s of an 8192-cubed product in bf16, the best of ten
    ours        tokens/s of the loop that `pretrain` runs, from its 11th step on; `share`: model FLOP/s over those of the product, by
                6 x weights + 6 x layers x width x length for each token (a forward pass and twice that backwards; causal attention)
    trainer     Hugging Face's Trainer on the same shape and batch: compiled, sdpa, bf16, its fused AdamW
    ours_lora   the same loop with adapters of rank 16;  peft: peft's model in a plain loop with autocast and fused AdamW
    loss        of 50 steps on this device beside those of the CPU in fp32: the largest difference of the last ten
    same_bytes  whether two runs, and one that was killed (SIGKILL) and went on, end in the same weights

`--profile 124M` prints instead where the time of three steps of ours goes, kernel by kernel.

On a machine without CUDA it says so and measures nothing; `--tiny` runs all of it there at a toy size, to see that it works. A CPU then
stands on both sides of `loss`, in bf16 and in fp32.
"""

import argparse
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.update(HF_HUB_OFFLINE="1", WANDB_MODE="disabled")

import torch
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from benchmarks.common import ROOT, write_result
from privllm.models.attention import FUSED_CAUSAL
from privllm.models.causal import reply_loss
from privllm.models.device_config import DevicesConfig, use
from privllm.train.adapter_config import AdapterConfig
from privllm.train.batches import Batch
from privllm.train.compile_support import prepare_compiler
from privllm.train.config import TrainConfig
from privllm.train.loop import Work, train
from privllm.train.lora import adapt
from privllm.train.objective import Objective

WARM = 10  # steps before the clock starts
RECORDED = 3  # steps of a profile
RANK = 16
CHECK_STEPS = 50


class Size(NamedTuple):
    """A model's shape, and its batch."""

    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    vocabulary: int
    rows: int
    length: int


SIZES = {
    "124M": Size(12, 768, 2048, 12, 12, 50_304, 32, 1024),
    "350M": Size(24, 1024, 2816, 16, 16, 50_304, 16, 1024),
    "1.5B": Size(28, 1536, 8960, 12, 2, 151_936, 8, 1024),
    "smollm2": Size(30, 576, 1536, 9, 3, 49_152, 2, 512),  # SmolLM2-135M's shape, at a batch for a CPU
    "check": Size(4, 256, 704, 4, 4, 2048, 8, 128),
    "tiny": Size(2, 64, 128, 2, 2, 512, 2, 32),
}


def model_of(size: Size, attention: str) -> Any:
    config = Qwen3Config(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        head_dim=size.width // size.heads,
        max_position_embeddings=size.length,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return Qwen3ForCausalLM._from_config(config, attn_implementation=attention)


def rows_of(size: Size, step: int) -> Tensor:
    """Return int64 [rows, length]: numbers that count upwards modulo the vocabulary, so that there is something to learn."""
    generator = torch.Generator().manual_seed(step)
    starts = torch.randint(size.vocabulary, (size.rows, 1), generator=generator)
    return (starts + torch.arange(size.length)) % size.vocabulary


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_gib() -> float:
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


class Clock:
    """Times steps from the first one that is warm; `at` is called before each, `stop` behind the last one that counts."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0
        self.steps = 0

    def at(self, step: int) -> None:
        if step == WARM:
            wait()
            self.began = time.perf_counter()
        self.steps = step - WARM

    def stop(self) -> None:
        wait()
        self.ended = time.perf_counter()
        self.steps += 1

    def tokens_per_second(self, size: Size) -> float:
        return self.steps * size.rows * size.length / (self.ended - self.began)


class Recording(Clock):
    """Records what runs in `RECORDED` steps from the first one that is warm."""

    def __init__(self) -> None:
        super().__init__()
        self.profiler = torch.profiler.profile()

    def at(self, step: int) -> None:
        super().at(step)
        if step == WARM:
            self.profiler.start()
        if step == WARM + RECORDED:
            wait()
            self.profiler.stop()


class Counting(Objective):
    """Next tokens of `rows_of`; the clock stops before the last step, whose held-out loss is no part of it."""

    def __init__(self, model: Any, size: Size, steps: int = 0, dies_at: int = -1) -> None:
        super().__init__(model, "benchmark")
        self.size, self.steps, self.dies_at = size, steps, dies_at
        self.clock = Clock()
        self.losses: list[float] = []

    def batch(self, step: int) -> Batch:
        if step == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if step == self.steps - 1:
            self.clock.stop()
        elif step < self.steps:
            self.clock.at(step)
        inputs = rows_of(self.size, step)
        return inputs, inputs.roll(-1, 1)

    def held_out(self, rest: bool = False) -> Iterator[Batch]:
        if not rest:
            inputs = rows_of(self.size, -1)
            yield inputs, inputs.roll(-1, 1)

    def loss(self, batch: Batch, reduction: str = "mean") -> Tensor:
        inputs, labels = batch
        hidden = self.model.base_model(input_ids=inputs, use_cache=False).last_hidden_state
        return reply_loss(self.model, hidden.flatten(0, 1), labels.flatten(), reduction)


def run(objective: Counting, cfg: TrainConfig, steps: int, folder: Path, seconds: float = 1e9) -> Any:
    """Train by the loop itself; returns what it came to."""
    if prepare_compiler(cfg.compile, folder):
        objective.compile()
    return train(objective, cfg, steps, folder / "live", Work(folder / "work", "benchmark", seconds), "benchmark")


def settings(steps: int, **changes: Any) -> TrainConfig:
    more = {"learning_rate": 0.001, "warmup_steps": 5, "validate_every": steps, "validation_rows": 1, "patience": 10**9}
    return TrainConfig(**(more | changes))


def ours(size: Size, steps: int, rank: int = 0) -> dict[str, float]:
    model = model_of(size, FUSED_CAUSAL)
    if rank:
        adapt(model.train(), AdapterConfig(rank=rank, alpha=2 * rank), 0)
    objective = Counting(model, size, steps)
    with tempfile.TemporaryDirectory() as folder:
        run(objective, settings(steps, optimizer="adamw" if rank else "muon"), steps, Path(folder))
    return {"tokens_per_second": round(objective.clock.tokens_per_second(size)), "peak_gib": peak_gib()}


def ours_lora(size: Size, steps: int) -> dict[str, float]:
    return ours(size, steps, RANK)


def trainer(size: Size, steps: int) -> dict[str, float]:
    from transformers import Trainer, TrainerCallback, TrainingArguments

    clock, has_gpu = Clock(), torch.cuda.is_available()

    class Timed(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock.at(state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == steps - 1:
                clock.stop()

    rows = [{"input_ids": row, "labels": row} for step in range(steps) for row in rows_of(size, step)]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=size.rows,
            max_steps=steps,
            bf16=has_gpu,
            torch_compile=has_gpu,
            optim="adamw_torch_fused",
            report_to=[],
            save_strategy="no",
            logging_steps=10**9,
            disable_tqdm=True,
            use_cpu=not has_gpu,
        )
        model = model_of(size, "sdpa")
        Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[Timed()]).train()  # type: ignore[arg-type]
    return {"tokens_per_second": round(clock.tokens_per_second(size)), "peak_gib": peak_gib()}


def peft(size: Size, steps: int) -> dict[str, float]:
    from peft import LoraConfig, get_peft_model

    device = "cuda" if torch.cuda.is_available() else "cpu"
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model: Any = get_peft_model(model_of(size, "sdpa"), LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=targets))
    model.to(device).train()
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer, clock = torch.optim.AdamW(learning, 0.001, fused=True), Clock()
    for step in range(steps):
        clock.at(step)
        inputs = rows_of(size, step).to(device)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = model(input_ids=inputs, labels=inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    clock.stop()
    return {"tokens_per_second": round(clock.tokens_per_second(size)), "peak_gib": peak_gib()}


def profile(size: Size) -> str:
    """Return a table of the operations that take the time of our steps, the longest first."""
    objective = Counting(model_of(size, FUSED_CAUSAL), size, steps=WARM + RECORDED + 2)
    objective.clock = recording = Recording()
    with tempfile.TemporaryDirectory() as folder:
        run(objective, settings(objective.steps), objective.steps, Path(folder))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return recording.profiler.key_averages().table(sort_by=f"self_{device}_time_total", row_limit=40)


def product_flops(side: int) -> float:
    """Return FLOP/s of a product of two square matrices in bf16."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        wait()
        began = time.perf_counter()
        left @ right
        wait()
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best


def flops_of_token(size: Size) -> float:
    """Return what a token costs by the model's arithmetic, forward and backward; recomputation and rows of embeddings are not counted."""
    head = size.width // size.heads
    attention = 2 * size.width * size.heads * head + 2 * size.width * size.kv_heads * head
    weights = size.layers * (attention + 3 * size.width * size.inner) + size.vocabulary * size.width
    return 6 * weights + 6 * size.layers * size.width * size.length


def losses(size: Size, accelerator: str, precision: str) -> list[float]:
    """Return the training losses of 50 steps."""
    use(DevicesConfig(accelerator=accelerator))
    objective = Counting(model_of(size, FUSED_CAUSAL), size)
    with tempfile.TemporaryDirectory() as folder:
        cfg = settings(CHECK_STEPS, precision=precision, compile="false")
        trained = run(objective, cfg, CHECK_STEPS, Path(folder))
    use(DevicesConfig())
    return [value for name, _, value in trained.history.points if name == "train/loss"]


def largest_difference(size: Size) -> float:
    """Return by how many nats the losses of this device are beside those of the CPU, ten steps by ten."""
    here = losses(size, "auto", "bf16")
    on_cpu = losses(size, "cpu", "32")
    return round(max(abs(one - other) for one, other in zip(here, on_cpu, strict=True)), 5)


def weights(size: Size, folder: Path, dies_at: int) -> str:
    """Train for 20 steps and return a digest of the weights; a run in the same folder goes on."""
    objective = Counting(model_of(size, FUSED_CAUSAL), size, dies_at=dies_at)
    run(objective, settings(20), 20, folder, seconds=0.0)
    digest = hashlib.sha256()
    for parameter in objective.model.parameters():
        digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def same_bytes(name: str) -> bool:
    """Return whether runs that nobody disturbed, and one that was killed at its 8th step, end in the same weights."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [Path(folder) / place for place in ("one", "two", "killed")]
        alone(f"weights:{name}", runs[2], 7, may_die=True)
        digests = {alone(f"weights:{name}", place, -1) for place in runs}
    return len(digests) == 1


MEASURES: dict[str, Callable[[Size, int], dict[str, float]]] = {
    "ours": ours,
    "trainer": trainer,
    "ours_lora": ours_lora,
    "peft": peft,
}


def alone(what: str, *words: object, may_die: bool = False) -> Any:
    """Do one thing in a process of its own, and return what its last line says."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--one", what, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode and not may_die:
        return {"failed": done.returncode}
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if lines else None


def one(what: str, words: list[str]) -> Any:
    name, _, size = what.partition(":")
    if name == "weights":
        return weights(SIZES[size], Path(words[0]), int(words[1]))
    if name == "loss":
        return largest_difference(SIZES[size])
    return MEASURES[name](SIZES[size], int(words[0]))


def measure(sizes: list[str], steps: int, side: int, check: str) -> dict[str, Any]:
    product = product_flops(side)
    found: dict[str, Any] = {"torch": torch.__version__, "device": device_name(), "product_tflops": product / 1e12}
    for name in sizes:
        rows = {measured: alone(f"{measured}:{name}", steps) for measured in MEASURES}
        speed = rows["ours"].get("tokens_per_second", 0)
        rows["ours"]["share"] = round(speed * flops_of_token(SIZES[name]) / product, 3)
        for mine, theirs in (("ours", "trainer"), ("ours_lora", "peft")):
            if "tokens_per_second" in rows[mine] and "tokens_per_second" in rows[theirs]:
                ratio = rows[mine]["tokens_per_second"] / rows[theirs]["tokens_per_second"]
                rows[mine][f"times_{theirs}"] = round(ratio, 2)
        found[name] = rows
    found["loss_difference"] = alone(f"loss:{check}")
    found["same_bytes"] = same_bytes(check)
    return found


def device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="*", default=["124M", "350M", "1.5B"], choices=list(SIZES))
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--profile", choices=list(SIZES))
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.one[0], args.one[1:])))
    elif args.profile:
        print(profile(SIZES[args.profile]))
    elif args.tiny:
        print(json.dumps(measure(["tiny"], WARM + 4, 256, "tiny")))
    elif torch.cuda.is_available():
        found = measure(args.sizes, max(args.steps, WARM + 4), 8192, "check")
        write_result("gpu", found)
        print(json.dumps(found))
    else:
        sys.exit("there is no CUDA here, so nothing was measured; --tiny runs this script on the CPU at a toy size")


if __name__ == "__main__":
    main()
