import pytest

from privllm.serve.limits import Bucket, Meter


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_fills_steadily_and_not_over() -> None:
    clock = Clock()
    bucket = Bucket(60, clock)
    bucket.take(60)
    assert bucket.wait(1) == pytest.approx(1)
    clock.now = 30
    assert bucket.wait(30) == 0
    clock.now = 1000
    assert bucket.wait(60) == 0
    assert bucket.wait(61) == float("inf")


def test_a_refused_request_costs_nothing_and_the_unused_comes_back() -> None:
    clock = Clock()
    meter = Meter(2, 100, clock)
    assert meter.admit(80) == 0
    assert meter.admit(80) == pytest.approx(36)
    meter.settle(80, 20)
    assert meter.admit(80) == 0
    assert meter.admit(0) == pytest.approx(30)  # two requests a minute
    clock.now = 30
    assert meter.admit(0) == 0
