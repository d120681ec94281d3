"""What training needs to know of a family: how its models are built, adapted and loaded, and the loss it is pretrained with.

One `FamilyModel` for each family, written in the family's own file and listed in `models.loading`. What only evaluation, export and people
need is in `models.family`, so that an edit there trains nothing anew.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from privllm.core.families import FamilyTraits
from privllm.core.special_tokens import SpecialIds

Loss = Callable[
    [PreTrainedModel, tuple[Tensor, ...], str], Tensor
]  # of a model on a batch, reduced by "mean" or "sum"; in nats


@dataclass(frozen=True)
class FamilyModel:
    """The models of one family."""

    traits: FamilyTraits
    config: type  # dataclass of the section `pretrain.<family>.model`
    build: Callable[[Any, SpecialIds, int, int], PreTrainedModel]  # (config, ids, context, seed) -> a fresh model
    auto_class: Any  # transformers' Auto class that loads it
    loss: Loss  # of pretraining
    dropout: tuple[
        str, ...
    ]  # its names in transformers' configuration; of an architecture that has none, `train.dropout`
    has_sentinels: bool = False  # its vocabulary has tokens that stand for spans cut out of a text
    fused_attention: frozenset[str] = frozenset()  # `model_type`s that `models.attention` supports

    @property
    def name(self) -> str:
        """Return the family's name."""
        return self.traits.name
