"""Peak memory of a step by size of model and way to train it: `python -m benchmarks.memory [--length 4096] [--cards 8] [--keep]`.

Whole steps (forward and backward pass, clipping, optimiser) of our own code on fake tensors, which have shapes and no content, so models
of any size fit here. What is alive is counted storage by storage; the peak is of the second step, when the optimiser's states exist. Models
are Qwen3's at their published shapes; weights in bf16 where the way says so, activations in bf16 by autocast, computed again in the
backward pass, logits in chunks. Allocators round and fragment: a card needs some 5 % more, and CUDA itself half a GiB.

With `--cards 8` one of 8 processes that each hold a share of the model (`train.strategy: fsdp`) is measured, the other seven are a
fake group's; with 4 and with 8 of its layers, for each layer adds the same, and the rest is extended from there. Packed weights (nf4)
are not cut: each card needs as much as one alone.
"""

import argparse
import json
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import Qwen3Config, Qwen3ForCausalLM

from benchmarks.common import ROOT, write_result
from privllm.models.attention import FUSED_CAUSAL
from privllm.models.causal import reply_loss
from privllm.models.small_weights import FP32, NF4, shrink
from privllm.train.adapter_config import AdapterConfig
from privllm.train.config import TrainConfig
from privllm.train.lightning_module import make_optimizer
from privllm.train.lora import adapt
from privllm.train.recompute import ALWAYS, Recompute
from privllm.train.sharding import Whole, cut_up, leave_mesh, own_mesh, share

GIB = 1 << 30
KEPT = ROOT / "benchmarks/results/memory.json"
# layers, width, inner width, heads, key/value heads, vocabulary, whether the embeddings are tied
SIZES = {
    "0.6 B": (28, 1024, 3072, 16, 8, 151_936, True),
    "1.7 B": (28, 2048, 6144, 16, 8, 151_936, True),
    "8 B": (36, 4096, 12_288, 32, 8, 151_936, False),
    "32 B": (64, 5120, 25_600, 64, 8, 151_936, False),
}


class Way(NamedTuple):
    """How a model is trained."""

    weights: str
    optimizer: str
    rank: int = 0


WAYS = {
    "full, fp32 and AdamW": Way("32", "adamw"),
    "full, fp32 and Muon": Way("32", "muon"),
    "full, bf16 and adamw8": Way("bf16", "adamw8"),
    "LoRA 16 beside bf16": Way("bf16", "adamw", 16),
    "QLoRA 16 beside nf4": Way("nf4", "adamw", 16),
}


class Alive(TorchDispatchMode):
    """Counts the bytes of all storages that operations made and something still holds."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self.seen = weakref.WeakKeyDictionary[Any, list[int]]()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self.count(tensor)
        return made

    def __enter__(self) -> "Alive":
        resize = torch.UntypedStorage.resize_

        def resized(storage: Any, size: int) -> Any:
            if storage in self.seen:
                self.grown(size - self.seen[storage][0])
                self.seen[storage][0] = size
            return resize(storage, size)

        self.patch = mock.patch.object(torch.UntypedStorage, "resize_", resized)  # by which FSDP borrows and gives back
        self.patch.start()
        return super().__enter__()

    def __exit__(self, *reason: Any) -> None:
        self.patch.stop()
        super().__exit__(*reason)

    def count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self.seen:
            return
        size = self.seen[storage] = [storage.nbytes()]
        self.grown(size[0])
        weakref.finalize(storage, self.gone, size)

    def grown(self, size: int) -> None:
        self.bytes += size
        self.peak = max(self.peak, self.bytes)

    def gone(self, size: list[int]) -> None:
        self.bytes -= size[0]


def model_of(shape: tuple[int, int, int, int, int, int, bool], length: int) -> Any:
    layers, width, inner, heads, kv_heads, vocabulary, is_tied = shape
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=128,
        max_position_embeddings=length,
        tie_word_embeddings=is_tied,
    )
    with torch.device("meta"):
        return Qwen3ForCausalLM._from_config(config, attn_implementation=FUSED_CAUSAL).train()


def to_fake(model: Any) -> None:
    """Replace all tensors of a model on "meta" by fake ones of the CPU, tied ones once; within a FakeTensorMode."""
    made: dict[int, Any] = {}
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    fake = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
                    learns = tensor.requires_grad
                    made[id(tensor)] = torch.nn.Parameter(fake, learns) if tensors is module._parameters else fake
                tensors[name] = made[id(tensor)]


def measure(
    shape: tuple[int, int, int, int, int, int, bool], way: Way, rows: int, length: int, cards: int = 1
) -> dict[str, float]:
    """Return GiB of each card: of what stays from step to step, of gradients, and the peak."""
    model = model_of(shape, length)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if way.rank:
        with torch.device("meta"):
            adapt(model, AdapterConfig(rank=way.rank), 0)
    with fake_group(cards if way.weights != NF4 else 1) as is_shared, FakeTensorMode():
        to_fake(model)
        shrink(model, way.weights)
        whole = cut_up(model, is_mixed=way.weights == FP32) if is_shared else Whole(model)
        optimizer = make_optimizer(model, TrainConfig(optimizer=way.optimizer))
        Recompute(model, ALWAYS, 0).before(1)
        alive = Alive()
        for tensor in (*model.parameters(), *model.buffers()):
            alive.count(share(tensor))
        weights = alive.bytes
        inputs = torch.zeros((rows, length), dtype=torch.int64)
        with alive:
            for _ in range(2):
                alive.peak = alive.bytes
                with torch.autocast("cpu", torch.bfloat16):
                    loss = whole(loss_of, model, inputs)
                loss.backward()
                del loss
                learning = [parameter for parameter in model.parameters() if parameter.grad is not None]
                gradients = sum(share(parameter.grad).nbytes for parameter in learning)  # type: ignore[arg-type]
                torch.nn.utils.clip_grad_norm_(learning, 1.0)
                optimizer.step()
                optimizer.zero_grad()
        states = alive.bytes - weights
    return {
        "weights": round(weights / GIB, 2),
        "gradients": round(gradients / GIB, 2),
        "states": round(states / GIB, 2),
        "peak": alive.peak / GIB,
        "each card": round(alive.peak / GIB, 1),
        "bytes a parameter": round(alive.peak / parameters, 1),
    }


def extended(
    shape: tuple[int, int, int, int, int, int, bool], way: Way, rows: int, length: int, cards: int
) -> dict[str, float]:
    """Return the peak in GiB of each of several cards, extended from that with 4 and with 8 layers."""
    few, more = (measure((layers, *shape[1:]), way, rows, length, cards)["peak"] for layers in (4, 8))
    peak = more + (shape[0] - 8) * (more - few) / 4
    return {"peak": peak, "each card": round(peak, 1)}


def loss_of(model: Any, inputs: torch.Tensor) -> torch.Tensor:
    hidden = model.base_model(input_ids=inputs, use_cache=False).last_hidden_state
    return reply_loss(model, hidden.flatten(0, 1), inputs.flatten(), "mean")


@contextmanager
def fake_group(cards: int) -> Iterator[bool]:
    """Be the first of so many processes inside the `with`; the others are not there. Yields whether there are others."""
    if cards == 1:
        yield False
        return
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=cards)
    own_mesh()  # made of real numbers
    try:
        yield True
    finally:
        leave_mesh()
        dist.destroy_process_group()


def table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the peaks in GiB as Markdown."""
    lines = ["| GiB at the peak | " + " | ".join(found) + " |", "|---" * (1 + len(found)) + "|"]
    for way in WAYS:
        cells = [str(of_size[way]["each card"]) if way in of_size else "" for of_size in found.values()]
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def keep(found: dict[str, dict[str, dict[str, float]]], cards: int) -> None:
    """Put the peaks into the file that the table of the docs is made of (`python docs/tables.py`), beside what is there."""
    kept = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
    for size, ways in found.items():
        for way, figures in ways.items():
            kept.setdefault(way, {}).setdefault(size, {})[str(cards)] = figures["each card"]
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--cards", type=int, default=1)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--keep", action="store_true", help="for the table of the docs")
    args = parser.parse_args()
    found: dict[str, dict[str, dict[str, float]]] = {}
    for size in args.sizes:
        found[size] = {}
        for name in args.ways:
            if args.cards == 1:
                found[size][name] = measure(SIZES[size], WAYS[name], args.rows, args.length)
            else:
                found[size][name] = extended(SIZES[size], WAYS[name], args.rows, args.length, args.cards)
    name = "memory" if args.cards == 1 else f"memory_{args.cards}"
    write_result(name, {"rows": args.rows, "length": args.length, "cards": args.cards, "GiB": found})
    if args.keep:
        keep(found, args.cards)
    print(table(found) if args.markdown else json.dumps(found))


if __name__ == "__main__":
    main()
