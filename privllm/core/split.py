"""Which documents train the model and which judge it.

A pure function of the cluster's id, so near-duplicates stay on one side and a growing corpus never moves a
document across. It does not balance anything: shares hold in expectation.
"""

from dataclasses import dataclass

from privllm.core.params import require
from privllm.core.seed import unit_interval

SPLITS = ("train", "validation", "test")


@dataclass
class SplitConfig:
    validation: float = 0.05  # share of clusters, [0, 0.5]
    test: float = 0.05  # share of clusters, [0, 0.5]

    def __post_init__(self) -> None:
        for key in ("validation", "test"):
            require(0 <= getattr(self, key) <= 0.5, f"split.{key}", "a share between 0 and 0.5")


def split_of(cfg: SplitConfig, cluster: str) -> str:
    """One of `SPLITS` for a cluster id."""
    place = unit_interval("split", cluster)
    if place < cfg.test:
        return "test"
    if place < cfg.test + cfg.validation:
        return "validation"
    return "train"
