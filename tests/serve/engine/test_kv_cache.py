import pytest
import torch
from transformers import DynamicCache

from privllm.serve.engine.kv_cache import COLUMNS, KvCache


def read(length: int, value: float) -> DynamicCache:
    cache = DynamicCache()
    for layer in range(2):
        cache.update(torch.full((1, 3, length, 4), value), torch.full((1, 3, length, 4), -value), layer)
    return cache


def test_rows_grow_by_themselves_and_the_last_fills_the_hole() -> None:
    kv_cache = KvCache(torch.device("cpu"))
    for length, value in ((5, 1.0), (COLUMNS - 1, 2.0), (2, 3.0)):
        kv_cache.add(read(length, value))
    assert kv_cache.lengths == [5, COLUMNS - 1, 2]
    kv_cache.remove(0)
    assert kv_cache.lengths == [2, COLUMNS - 1]
    for _ in range(2):  # the second step needs more columns than there are
        positions, keys = kv_cache.begin_step()
        assert positions[:, 0].tolist() == kv_cache.lengths
        assert keys.shape == (1, kv_cache.longest + 1)
        states = torch.tensor([30.0, 20.0])[:, None, None, None].expand(2, 3, 1, 4)
        for layer in range(2):
            got, _ = kv_cache.update(states, -states, layer)
        kv_cache.end_step()
    assert got.shape == (2, 3, COLUMNS + 1, 4)
    assert got[0, 0, :4, 0].tolist() == [3.0] * 2 + [30.0] * 2  # what lies behind is masked
    assert got[1, 0, :, 0].tolist() == [2.0] * (COLUMNS - 1) + [20.0] * 2
    kv_cache.remove(1)
    kv_cache.remove(0)
    assert (kv_cache.lengths, kv_cache.layers) == ([], [])


def test_rows_and_columns_grow_only_where_there_is_no_room() -> None:
    kv_cache = KvCache(torch.device("cpu"))
    kv_cache.add(read(1, 1.0))
    layer = kv_cache.layers[0]
    assert layer.keys.shape == (1, 3, 64, 4)
    keys_before = layer.keys
    kv_cache.begin_step()
    assert layer.keys is keys_before
    kv_cache.add(read(63, 2.0))
    assert layer.keys.shape == (2, 3, 64, 4)
    kv_cache.add(read(64, 3.0))  # with the token to come it needs a 65th column
    assert layer.keys.shape == (4, 3, 128, 4)
    for row, (length, value) in enumerate(((1, 1.0), (63, 2.0), (64, 3.0))):
        assert layer.keys[row, :, :length].eq(value).all()
        assert layer.values[row, :, :length].eq(-value).all()
        assert layer.keys[row, :, length:].eq(0).all()


def test_one_token_a_step_and_only_by_add() -> None:
    kv_cache = KvCache(torch.device("cpu"))
    kv_cache.add(read(2, 1.0))
    kv_cache.begin_step()
    two = torch.zeros(1, 3, 2, 4)
    with pytest.raises(AssertionError, match="one token a step"):
        kv_cache.update(two, two, 0)
    with pytest.raises(AssertionError, match=r"KvCache\.add"):
        kv_cache.layers[0].lazy_initialization(two, two)
    assert kv_cache.layers[0].get_mask_sizes(1) == (3, 0)
    assert kv_cache.layers[0].get_seq_length() == 2


@pytest.mark.parametrize("row", [0, 1, 2])
def test_whoever_leaves_the_others_keep_theirs(row: int) -> None:
    kv_cache = KvCache(torch.device("cpu"))
    rows = [(3, 1.0), (5, 2.0), (4, 3.0)]
    for length, value in rows:
        kv_cache.add(read(length, value))
    kv_cache.remove(row)
    rows[row] = rows[-1]
    rows.pop()
    assert kv_cache.lengths == [length for length, _ in rows]
    assert kv_cache.longest == max(length for length, _ in rows)
    for layer in kv_cache.layers:
        for place, (length, value) in enumerate(rows):
            assert layer.keys[place, :, :length].eq(value).all()
            assert layer.values[place, :, :length].eq(-value).all()
