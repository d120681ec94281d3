import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.train.batches import Kinds, replayed, rows_of_step
from privllm.train.budget import (
    LESSON_STEPS,
    MOST_SHOWN,
    budget_warnings,
    lesson_budget,
    pretraining_steps,
    rows_of_epoch,
    steps_between_validations,
    steps_of,
)


@given(st.integers(1, 40), st.integers(1, 300), st.integers(1, 16))
def test_so_many_epochs_read_every_row_so_often(epochs, rows, batch_size):
    """By the order of rows that training reads: never less, and less than one batch more."""
    steps = steps_of(epochs, rows, batch_size)
    read = np.concatenate([rows_of_step(0, step, batch_size, rows).rows for step in range(steps)])
    counts = np.bincount(read, minlength=rows)
    assert counts.min() >= epochs
    assert len(read) - epochs * rows < batch_size


def test_parts_of_an_epoch_and_what_rounding_must_not_do():
    assert steps_of(0.5, 80, 4) == 10
    assert steps_of(160 / 23, 23, 4) == 40  # 40.00000000000001
    assert steps_of(0.001, 3, 8) == 1
    assert pretraining_steps(0.001, 100, 4) == 20


@pytest.mark.parametrize(("every", "steps", "between"), [(50, 1000, 50), (50, 196, 32), (50, 40, 10), (6, 40, 6)])
def test_a_short_pretraining_is_looked_at_more_often(every, steps, between):
    assert steps_between_validations(every, steps, epoch=1000) == between


@pytest.mark.parametrize(("every", "epoch", "between"), [(50, 60, 50), (50, 32, 32), (50, 22, 25), (12, 3, 10)])
def test_a_pretraining_is_looked_at_once_an_epoch_unless_that_takes_too_long(every, epoch, between):
    """Twice the share of time at most, and never less than ten steps apart."""
    assert steps_between_validations(every, 1000, epoch) == between


@given(st.integers(1, 200), st.integers(1, 200), st.floats(0, 0.95))
def test_an_epoch_with_replay_reads_every_new_row(known, new, replay):
    rows = rows_of_epoch(known, new, replay)
    kinds = Kinds(known=np.arange(known), new=np.arange(known, known + new))
    read = [row for step in range(rows) for row in replayed(0, step, 1, kinds, replay).rows]
    assert set(kinds.new.tolist()) <= set(map(int, read))


@pytest.mark.parametrize(("known", "new", "replay"), [(30, 0, 0.1), (0, 30, 0.1), (10, 20, 1.0)])
def test_rows_that_are_not_told_apart_are_all_of_an_epoch(known, new, replay):
    assert rows_of_epoch(known, new, replay) == 30


def test_one_correction_is_not_shown_hundreds_of_times():
    budget = lesson_budget(1, epochs=4.0, batch_size=8, learning_rate=0.001)
    assert (budget.batch_size, budget.steps, budget.validate_every) == (1, 15, 1)
    assert budget.learning_rate == pytest.approx(0.001 / math.sqrt(8))


def test_enough_lessons_are_seen_as_often_as_asked():
    budget = lesson_budget(800, epochs=4.0, batch_size=8, learning_rate=0.001)
    assert budget == (8, 400, 0.001, 40)


@given(st.integers(1, 2000), st.floats(0.1, 30), st.integers(1, 32))
def test_few_lessons_get_a_few_dozen_steps_but_no_lesson_is_worn_out(lessons, epochs, batch_size):
    budget = lesson_budget(lessons, epochs, batch_size, 0.001)
    shown = budget.steps * budget.batch_size / lessons
    assert budget.batch_size <= lessons
    assert shown + 1e-4 >= epochs
    assert shown <= max(epochs, MOST_SHOWN) + budget.batch_size / lessons
    assert budget.steps >= LESSON_STEPS or shown >= MOST_SHOWN
    assert 1 <= budget.validate_every <= max(1, budget.steps // 10)
    assert budget.learning_rate <= 0.001


def test_more_lessons_never_make_a_shorter_training():
    steps = [lesson_budget(lessons, 4.0, 8, 0.001).steps for lessons in range(8, 400)]
    assert steps == sorted(steps)


@pytest.mark.parametrize(
    ("epochs", "tokens", "scratch", "words"),
    [
        (0.2, 10**9, True, ["80% of the corpus unread"]),
        (17, 10**9, True, ["17 epochs is above 16"]),
        (4, 10**6, True, ["starts from a base"]),
        (0.1, 10**6, True, ["90% of the corpus unread", "1,000,000 tokens are few"]),
        (0.5, 10**6, False, []),
        (16, 10**8, True, []),
    ],
)
def test_what_does_not_suit_the_corpus_is_said(epochs, tokens, scratch, words):
    warnings = budget_warnings(epochs, tokens, scratch)
    assert len(warnings) == len(words)
    for warning, part in zip(warnings, words, strict=True):
        assert part in warning
