"""What learning with adapters may change in a model of ours: matrices inside its blocks, and the rows of the marks of turns."""

from collections.abc import Collection, Mapping

import torch

from privllm.core.special_tokens import TURN_MARKS


def assert_only_adapters_learnt(
    before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor], rows_learnt: Collection[int] = TURN_MARKS
) -> None:
    assert set(before) == set(after)
    changed = {name for name in before if not before[name].equal(after[name])}
    outside = {name for name in changed if not (".layers." in name and name.endswith("proj.weight"))}
    assert changed > outside, "a matrix of a block learnt"
    assert outside, "new tokens learnt"
    for name in outside:
        rows = (before[name] != after[name]).any(1).nonzero().flatten().tolist()
        assert set(rows) <= set(rows_learnt), name
