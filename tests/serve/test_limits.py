import pytest

from privllm.serve.limits import RateLimiter, TokenBucket


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_fills_steadily_and_not_over() -> None:
    clock = Clock()
    bucket = TokenBucket(60, clock)
    bucket.take(60)
    assert bucket.wait(1) == pytest.approx(1)
    clock.now = 30
    assert bucket.wait(30) == 0
    clock.now = 1000
    assert bucket.wait(60) == 0
    assert bucket.wait(61) == float("inf")


def test_a_refused_request_costs_nothing_and_the_unused_comes_back() -> None:
    clock = Clock()
    limiter = RateLimiter(2, 100, clock)
    assert limiter.admit(80) == 0
    assert limiter.admit(80) == pytest.approx(36)
    limiter.settle(80, 20)
    assert limiter.admit(80) == 0
    assert limiter.admit(0) == pytest.approx(30)  # two requests a minute
    clock.now = 30
    assert limiter.admit(0) == 0


def test_nothing_is_saved_up_beyond_a_minute() -> None:
    """An idle hour, or more given back than was taken, leaves a minute's worth and no more."""
    clock = Clock()
    bucket = TokenBucket(60, clock)
    clock.now = 3600
    bucket.take(60)
    assert bucket.wait(1) == pytest.approx(1)
    bucket.take(-500)
    bucket.take(60)
    assert bucket.wait(1) == pytest.approx(1)


@pytest.mark.parametrize(("amount", "seconds"), [(0, 0), (39, 0), (40, 0), (41, 1), (60, 20), (61, float("inf"))])
def test_the_wait_is_for_what_is_missing(amount: int, seconds: float) -> None:
    bucket = TokenBucket(60, Clock())
    bucket.take(20)
    assert bucket.wait(amount) == pytest.approx(seconds)


def test_what_was_taken_too_much_is_waited_for() -> None:
    clock = Clock()
    bucket = TokenBucket(60, clock)
    bucket.take(90)
    assert bucket.wait(0) == pytest.approx(30)
    clock.now = 29
    assert bucket.wait(0) == pytest.approx(1)
    clock.now = 31
    assert bucket.wait(1) == 0


def test_one_limit_does_not_eat_the_other() -> None:
    """Refused for want of requests no tokens go, and refused for want of tokens no request does."""
    clock = Clock()
    limiter = RateLimiter(1, 100, clock)
    assert limiter.admit(60) == 0
    assert limiter.admit(10) == pytest.approx(60)
    assert limiter.tokens.wait(40) == 0
    assert limiter.tokens.wait(41) > 0
    limiter = RateLimiter(2, 100, clock)
    assert limiter.admit(60) == 0
    assert limiter.admit(50) == pytest.approx(6)
    assert limiter.requests.wait(1) == 0
    assert limiter.requests.wait(2) > 0


def test_exactly_a_minutes_worth_is_admitted_at_once() -> None:
    assert RateLimiter(1, 100, Clock()).admit(100) == 0
    assert RateLimiter(1, 100, Clock()).admit(101) == float("inf")
