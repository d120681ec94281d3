"""The benchmarks of training still fit what they measure."""

import math

from benchmarks.step import measure


def test_a_step_is_measured_by_its_parts() -> None:
    found = measure(rounds=2, vocabulary=300)
    assert all(0 < seconds < math.inf for parts in found["milliseconds"].values() for seconds in parts.values())
    assert found["flops_over_sgemm"]["ours"] > 0
