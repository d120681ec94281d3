from collections import Counter
from itertools import islice

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_corpus import CONTEXT, Corpus, write_split

from privllm.tokens.rows import open_rows
from privllm.train.data import IGNORED, Stream, held_out_batches, make_batch, rows_of_step


def places(seed: int, batch_size: int, rows: int, count: int) -> list[int]:
    steps = -(-count // batch_size)
    return [int(row) for step in range(steps) for row in rows_of_step(seed, step, batch_size, rows)][:count]


@given(st.integers(0, 2**40), st.integers(1, 9), st.integers(1, 30))
def test_every_epoch_has_every_row_once(seed, batch_size, rows):
    order = places(seed, batch_size, rows, 3 * rows)
    for epoch in range(3):
        assert Counter(order[epoch * rows : (epoch + 1) * rows]) == Counter(range(rows))


@given(st.integers(0, 2**40), st.integers(1, 9), st.integers(1, 9), st.integers(1, 30))
def test_the_order_does_not_depend_on_the_batch(seed, one, other, rows):
    assert places(seed, one, rows, 2 * rows) == places(seed, other, rows, 2 * rows)


def test_epochs_and_seeds_differ_and_the_global_generator_has_no_say():
    np.random.seed(0)
    order = places(0, 4, 50, 100)
    np.random.seed(1)
    assert order == places(0, 4, 50, 100)
    assert order[:50] != order[50:]
    assert order != places(1, 4, 50, 100)


def test_labels_are_the_next_tokens_and_padding_is_ignored(tmp_path):
    write_split(tmp_path, [[list(range(2, 11)), [2, 1, 3]]], context=8)  # 1 is the padding's id, and here a token
    inputs, labels = make_batch(open_rows(tmp_path), np.array([0, 1]))
    assert [inputs.tolist()[0], labels.tolist()[0]] == [list(range(2, 10)), list(range(3, 11))]
    assert [inputs.tolist()[1][:2], labels.tolist()[1]] == [[2, 1], [1, 3] + [IGNORED] * 6]


def test_a_stream_goes_on_from_any_step_as_if_it_had_never_stopped(corpus: Corpus):
    rows = open_rows(corpus.rows / "train")
    whole = list(islice(Stream(rows, 3, 5, lambda: 0), 20))
    for inputs, rest in zip(islice(Stream(rows, 3, 5, lambda: 13), 7), whole[13:], strict=True):
        assert torch.equal(torch.stack(inputs), torch.stack(rest))


def test_held_out_batches_have_one_shape_and_count_every_row_once(corpus: Corpus):
    rows = open_rows(corpus.rows / "validation")
    batches = list(held_out_batches(rows, limit=100, batch_size=3))
    assert {tuple(inputs.shape) for inputs, _ in batches} == {(3, CONTEXT)}
    assert sum(int((labels != IGNORED).sum()) for _, labels in batches) == sum(len(rows.tokens(i)) - 1 for i in range(len(rows)))
    assert sum(int((labels != IGNORED).any(1).sum()) for _, labels in held_out_batches(rows, limit=2, batch_size=3)) == 2
