import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.train.schedule import plan


def test_published_shape():
    """Hägele et al. 2024: linear warm-up, constant, 1 - sqrt."""
    schedule = plan(steps=100, warmup=10, decay_fraction=0.2)
    assert [schedule.factor(step) for step in (0, 4, 9, 10, 79)] == [0.1, 0.5, 1.0, 1.0, 1.0]
    assert schedule.factor(80) == pytest.approx(1 - math.sqrt(1 / 21))
    assert schedule.factor(99) == pytest.approx(1 - math.sqrt(20 / 21))


def test_a_short_run_warms_up_for_a_tenth_of_it():
    assert plan(steps=30, warmup=20, decay_fraction=0.5).warmup == 3
    assert plan(steps=4, warmup=20, decay_fraction=0.5).warmup == 1


@given(st.integers(1, 500), st.integers(0, 50), st.floats(0, 0.9))
def test_the_factor_stays_in_bounds_and_never_rises_after_the_warm_up(steps, warmup, fraction):
    schedule = plan(steps, warmup, fraction)
    factors = [schedule.factor(step) for step in range(schedule.end)]
    assert all(0 < factor <= 1 for factor in factors)
    later = factors[schedule.warmup :]
    assert later == sorted(later, reverse=True)


@given(st.integers(10, 500), st.floats(0.05, 0.9), st.data())
def test_a_decay_brought_forward_is_a_share_of_the_steps_to_the_best_weights(steps, fraction, data):
    schedule = plan(steps, 0, fraction)
    step = data.draw(st.integers(1, max(1, schedule.decay_from - 1)))
    best_step = data.draw(st.integers(1, step))
    earlier = schedule.decay_now(step, best_step)
    assert step < earlier.end <= schedule.end
    assert earlier.factor(step) < 1
    if earlier.end < schedule.end and best_step >= 5:
        assert 0.1 <= (earlier.end - step) / best_step <= 0.2
