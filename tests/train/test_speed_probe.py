import itertools

import pytest
import torch

from privllm.models.loading import MODELS
from privllm.train.config import TrainConfig
from privllm.train.speed_probe import tokens_per_second
from tests.train.tiny_tasks import MODELS as SHAPES


@pytest.mark.parametrize("family", MODELS)
def test_the_speed_is_of_whole_steps_by_the_clock(family: str) -> None:
    """A clock that says a second more each time: seven steps, of which the first is not measured."""
    ticks = itertools.count()
    cfg = TrainConfig(batch_size=3)
    speed = tokens_per_second(family, SHAPES[family], cfg, 64, 16, seconds=7.0, clock=lambda: float(next(ticks)))
    # Read at the end of each step, and once more when the measurement begins: 6 measured steps took 7 seconds.
    assert speed == pytest.approx(6 * 3 * 16 / 7)


def test_nothing_of_the_probe_is_left_in_the_generator() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    tokens_per_second("causal", SHAPES["causal"], TrainConfig(batch_size=1), 64, 8, seconds=0.0)
    assert torch.rand(1).equal(expected)
