"""Split of documents into those that train the model and those that evaluate it.

It is a pure function of the cluster's id, so near-duplicates stay on one side and a growing corpus
never moves a document across. Nothing is balanced: shares hold in expectation.
"""

from dataclasses import dataclass

from privllm.core.params import require
from privllm.core.seed import unit_interval

SPLITS = ("train", "validation", "test")


@dataclass
class SplitConfig:
    """Shares of the held-out splits."""

    validation: float = 0.05  # share of clusters, [0, 0.5]
    test: float = 0.05  # share of clusters, [0, 0.5]

    def __post_init__(self) -> None:
        for key in ("validation", "test"):
            share = getattr(self, key)
            require(0 <= share <= 0.5, f"split.{key}", "a share between 0 and 0.5")


def split_of(cfg: SplitConfig, cluster: str) -> str:
    """Return one of `SPLITS` for a cluster id."""
    position = unit_interval("split", cluster)
    if position < cfg.test:
        return "test"
    if position < cfg.test + cfg.validation:
        return "validation"
    return "train"
