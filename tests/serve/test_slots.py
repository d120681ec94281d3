import torch
from transformers import DynamicCache

from privllm.serve.slots import COLUMNS, Slots


def read(length: int, value: float) -> DynamicCache:
    cache = DynamicCache()
    for layer in range(2):
        cache.update(torch.full((1, 3, length, 4), value), torch.full((1, 3, length, 4), -value), layer)
    return cache


def test_rows_grow_by_themselves_and_the_last_fills_the_hole() -> None:
    slots = Slots(torch.device("cpu"))
    for length, value in ((5, 1.0), (COLUMNS - 1, 2.0), (2, 3.0)):
        slots.add(read(length, value))
    assert slots.lengths == [5, COLUMNS - 1, 2]
    slots.remove(0)
    assert slots.lengths == [2, COLUMNS - 1]
    for _ in range(2):  # the second step needs more columns than there are
        positions, keys = slots.begin()
        assert positions[:, 0].tolist() == slots.lengths
        assert keys.shape == (1, slots.longest + 1)
        new = torch.tensor([30.0, 20.0])[:, None, None, None].expand(2, 3, 1, 4)
        for layer in range(2):
            got, _ = slots.update(new, -new, layer)
        slots.end()
    assert got.shape == (2, 3, COLUMNS + 1, 4)
    assert got[0, 0, :4, 0].tolist() == [3.0] * 2 + [30.0] * 2  # what lies behind is masked
    assert got[1, 0, :, 0].tolist() == [2.0] * (COLUMNS - 1) + [20.0] * 2
    slots.remove(1)
    slots.remove(0)
    assert (slots.lengths, slots.layers) == ([], [])
