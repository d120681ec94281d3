"""The knobs of `align`, and the places that it reads and writes; without the libraries that train."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from privllm.core.params import require
from privllm.train.adapter_config import AdapterConfig

LEARNT = ("sft.jsonl", "chat.jsonl", "preferences.jsonl")  # of data/feedback_clean: what a model learns from
LONGEST = 2048  # tokens of a conversation; a batch of longer ones does not fit in memory
FILES = (*LEARNT, "held_out.jsonl", "raters.jsonl")


@dataclass
class SftConfig:
    learning_rate: float = 0.0005  # peak, > 0
    # how often the replies are gone through, > 0; where they are few more often, until there are 60 steps, but not above 15 times
    epochs: float = 4.0
    preferred: float = 0.5  # weight of a preferred reply beside a correction, [0, 1]; 0 = corrections alone

    def __post_init__(self) -> None:
        require(
            self.learning_rate > 0 and self.epochs > 0, "align.sft.learning_rate", "above 0, as must align.sft.epochs"
        )
        require(0 <= self.preferred <= 1, "align.sft.preferred", "between 0 and 1")


@dataclass
class DpoConfig:
    learning_rate: float = 0.0002  # peak, > 0
    epochs: float = 4.0  # how often the preferences are gone through, > 0; few as in `sft`
    beta: float = 0.1  # how closely the model holds to what it was before, > 0

    def __post_init__(self) -> None:
        require(
            self.learning_rate > 0 and self.epochs > 0, "align.dpo.learning_rate", "above 0, as must align.dpo.epochs"
        )
        require(self.beta > 0, "align.dpo.beta", "above 0")


@dataclass
class AlignConfig:
    sft: SftConfig = field(default_factory=SftConfig)  # imitating replies
    dpo: DpoConfig = field(default_factory=DpoConfig)  # preferring one to another
    lora: AdapterConfig = field(default_factory=AdapterConfig)
    replay: float = 1.0  # weight of the loss on pretraining text in every step, against forgetting, >= 0
    batch_size: int = 8  # lessons a step, each once, with half as many rows of pretraining text; >= 1
    # share of the conversations that only say when to stop, by a hash of their first question, [0, 0.5]
    validation: float = 0.1
    precision: str = "auto"  # 32, bf16, or auto: bf16 on CUDA, where fp32 would lose the fast attention, 32 on the CPU
    positions_at_once: int = 0  # tokens that go through the model at once, as in `pretrain`, >= 0
    weights: str = "32"  # of the model while it trains: 32, bf16 or nf4, as in `pretrain`; the latter two want adapters
    seed: int = 0  # of the order of lessons and of replayed text, and of adapters

    def __post_init__(self) -> None:
        require(self.replay >= 0, "align.replay", "0 or more")
        require(self.precision in ("auto", "32", "bf16"), "align.precision", '"auto", "32" or "bf16"')
        require(self.weights in ("32", "bf16", "nf4"), "align.weights", '"32", "bf16" or "nf4"')
        require(self.lora.rank > 0 or self.weights == "32", "align.weights", '"32" where align.lora.rank is 0')
        require(self.positions_at_once >= 0, "align.positions_at_once", "0 or more")
        require(0 <= self.validation <= 0.5, "align.validation", "a share between 0 and 0.5")
        require(self.batch_size >= 1, "align.batch_size", "at least 1")


class AlignInputs(NamedTuple):
    """The folders that `align` reads."""

    start: Path  # data/pretrain/<family>
    feedback: Path  # data/feedback_clean
    rows: Path  # data/pack
    tokenizer: Path  # data/tokenizer


class Places(NamedTuple):
    """Where `align` writes, and where a run in flight keeps its state."""

    out: Path
    live: Path
    work: Path
    code: str  # fingerprint of the code that may resume from `work`
    seconds: float = math.inf  # of training between two checkpoints
    workers: int = 0  # processes that make batches ahead
    recompute: str = "auto"  # whether activations are computed again
