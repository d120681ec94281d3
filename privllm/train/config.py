"""The knobs of training: `TrainConfig` for the one loop, what each family adds to it when it is pretrained, and what a task does.

It imports nothing that trains, so that all of params.yaml can be checked at once.
"""

from dataclasses import dataclass, field

from privllm.core.families import MASKED, families_of
from privllm.core.params import require
from privllm.core.split import SplitConfig
from privllm.models.config import CausalConfig, CorruptionConfig, MaskedConfig, Seq2SeqConfig
from privllm.models.masking import MaskingConfig
from privllm.tasks.formats import KINDS
from privllm.train.adapter_config import AdapterConfig

OPTIMIZERS = ("muon", "adamw", "adamw8")


@dataclass
class TrainConfig:
    # muon (for the matrices, AdamW for the rest), adamw (for all), or adamw8: with states of 8 bits
    optimizer: str = "muon"
    learning_rate: float = 0.003  # peak, > 0
    # decoupled, of matrices inside the blocks and, beside muon and from scratch, of embeddings, per unit of learning rate, >= 0
    weight_decay: float = 0.1
    clip: float = 1.0  # the gradient's norm at most, > 0
    batch_size: int = 4  # rows a step, >= 1; small models learn best from 1,000 to 2,000 tokens a step
    epochs: float = 1.0  # how often all rows are read, > 0; from the incumbent on the new rows; 20 steps at least
    warmup_steps: int = 20  # >= 0; a tenth of all steps where that is fewer
    decay_fraction: float = 0.5  # share of the steps over which the learning rate falls to 0, [0, 0.9]
    # steps, >= 0; 0: as seldom as keeps validation at 2 % of the training, but six times, and once an epoch where that takes 4 % at most;
    # never less than 10 steps apart
    validate_every: int = 0
    validation_rows: int = 32  # rows of held-out text each time, >= 1
    patience: int = 4  # validations without improvement before the decay is brought forward, >= 1
    min_delta: float = 0.002  # nats per token that count as an improvement, >= 0
    # torch.compile, block by block: true (a gain from some 400 steps on), false, or auto: true on CUDA, false on a CPU; falls back with
    # a note where there is no compiler
    compile: str = "auto"
    precision: str = "auto"  # 32, bf16, or auto: bf16 on CUDA, 32 on the CPU
    # tokens that go through the model at once, padding included, >= 0; a step of more goes in parts, a row at least; 0: as many as take
    # about 6 GiB of activations (24 on a GPU)
    positions_at_once: int = 0
    # of the model while it trains: 32; bf16, half of that (adapters, or adamw8); nf4, an eighth, of matrices that do not learn (adapters)
    weights: str = "32"
    seed: int = 0  # of initialisation, data order and dropout

    def __post_init__(self) -> None:
        self.compile = str(self.compile).lower()  # YAML's own true and false
        require(self.compile in ("auto", "true", "false"), "compile", '"auto", true or false')
        require(self.optimizer in OPTIMIZERS, "optimizer", "muon, adamw or adamw8")
        require(self.weights in ("32", "bf16", "nf4"), "weights", '"32", "bf16" or "nf4"')
        require(self.precision in ("auto", "32", "bf16"), "precision", '"auto", "32" or "bf16"')
        for key in ("learning_rate", "epochs", "clip"):
            require(getattr(self, key) > 0, key, "above 0")
        for key in ("batch_size", "validation_rows", "patience"):
            require(getattr(self, key) >= 1, key, "at least 1")
        for key in ("weight_decay", "warmup_steps", "min_delta", "validate_every", "positions_at_once"):
            require(getattr(self, key) >= 0, key, "0 or more")
        require(0 <= self.decay_fraction <= 0.9, "decay_fraction", "between 0 and 0.9")


def _require_suited(optimizer: str, lora: AdapterConfig, key: str) -> None:
    """Refuse muon for adapters, whose matrices are thin."""
    require(lora.rank == 0 or optimizer != "muon", key, "adamw or adamw8 where lora.rank is above 0")


@dataclass
class FromBase:
    """What differs where training goes on from a base model: its architecture comes with it, and it forgets by large steps."""

    optimizer: str = "adamw"  # muon, adamw or adamw8
    learning_rate: float = 0.0002  # peak, > 0
    epochs: float = 1.0  # how often all rows are read, > 0; 20 steps at least
    lora: AdapterConfig = field(default_factory=lambda: AdapterConfig(rank=16, alpha=32))  # by rank 0 all weights learn
    replay: float = 0.2  # share of rows of general text (`replay`) beside the documents, [0, 0.9]
    strength: float = 0.8  # share of the way from the base's weights to the trained ones, (0, 1]; less forgets less

    def __post_init__(self) -> None:
        require(self.optimizer in OPTIMIZERS, "from_base.optimizer", "muon, adamw or adamw8")
        _require_suited(self.optimizer, self.lora, "from_base.optimizer")
        require(0 <= self.replay <= 0.9, "from_base.replay", "between 0 and 0.9")
        require(0 < self.strength <= 1, "from_base.strength", "above 0 and at most 1")
        for key in ("learning_rate", "epochs"):
            require(getattr(self, key) > 0, f"from_base.{key}", "above 0")


@dataclass
class FamilyPretrain(TrainConfig):
    from_base: FromBase = field(default_factory=FromBase)
    replay: float = 0.05  # of incumbent: share of rows whose documents it knows unchanged, [0, 1]; 1 = no distinction

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.replay <= 1, "replay", "between 0 and 1")


@dataclass
class CausalPretrain(FamilyPretrain):
    model: CausalConfig = field(default_factory=CausalConfig)


@dataclass
class MaskedPretrain(FamilyPretrain):
    learning_rate: float = 0.006  # peak, > 0
    model: MaskedConfig = field(default_factory=MaskedConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)


@dataclass
class Seq2SeqPretrain(FamilyPretrain):
    model: Seq2SeqConfig = field(default_factory=Seq2SeqConfig)
    corruption: CorruptionConfig = field(default_factory=CorruptionConfig)


@dataclass
class PretrainConfig:
    """The section `pretrain` of params.yaml: one part for each family."""

    causal: CausalPretrain = field(default_factory=CausalPretrain)
    masked: MaskedPretrain = field(default_factory=MaskedPretrain)
    seq2seq: Seq2SeqPretrain = field(default_factory=Seq2SeqPretrain)


@dataclass
class FinetuneConfig(TrainConfig):
    """The section `finetune.defaults`, with a task of `finetune.tasks` over it."""

    # muon (for the matrices, AdamW for the rest), adamw (for all), or adamw8: with states of 8 bits
    optimizer: str = "adamw"
    learning_rate: float = 0.001  # peak, > 0; lower where there are fewer examples than `batch_size`
    batch_size: int = 8  # examples a step, >= 1; no example is twice in a step
    # how often the examples are gone through, > 0; where they are few more often, until there are 60 steps, but not above 15 times
    epochs: float = 4.0
    warmup_steps: int = 10  # >= 0; a tenth of all steps where that is fewer
    # steps, >= 0, a tenth of all steps where that is fewer; 0: as seldom as keeps validation at 2 % of the training
    validate_every: int = 50
    kind: str = "classification"  # classification, tokens, text2text or chat
    family: str = MASKED.name  # of the model in `start`
    data: str = ""  # a file of examples: JSON Lines, JSON, CSV, TSV or Parquet
    start: str = ""  # a Hugging Face folder on this machine, such as data/pretrain/masked
    # those allowed (entity types for tokens), in the order of labels that are numbers (then all tags); empty: whatever the file has
    labels: list[str] = field(default_factory=list)
    optional: bool = False  # whether examples that do not suffice are a note instead of an error
    # whether to train the same architecture from random weights too, and report the difference
    compare_random: bool = False
    lora: AdapterConfig = field(default_factory=AdapterConfig)
    split: SplitConfig = field(default_factory=lambda: SplitConfig(0.1, 0.2))  # of files that do not say it themselves
    # tokens of an example at most, its marks included, >= 1; the context of the model where that is less
    max_length: int = 2048
    generated: int = 128  # held-out examples that are answered in words, >= 0; the loss is over all
    max_new_tokens: int = 48  # of such an answer, >= 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.kind in KINDS, "kind", ", ".join(KINDS))
        require(
            self.family in families_of(self.kind),
            "family",
            f"one that does {self.kind}: {', '.join(families_of(self.kind))}",
        )
        _require_suited(self.optimizer, self.lora, "optimizer")
        require(self.max_length >= 1, "max_length", "at least 1")
        require(self.generated >= 0, "generated", "0 or more")
        require(self.max_new_tokens >= 1, "max_new_tokens", "at least 1")
