"""The knobs of low-rank adapters (`lora`), without the libraries that make them."""

from dataclasses import dataclass

from privllm.core.params import require


@dataclass
class AdapterConfig:
    rank: int = 0  # of the matrices that are learnt beside each weight; 0 = learn all weights themselves
    alpha: int = 16  # their sum is scaled by alpha / rank, >= 1
    dropout: float = 0.0  # of what goes into them while training, [0, 1)

    def __post_init__(self) -> None:
        require(self.rank >= 0, "lora.rank", "0 or more")
        require(self.alpha >= 1, "lora.alpha", "1 or more")
        require(0 <= self.dropout < 1, "lora.dropout", "at least 0 and below 1")
