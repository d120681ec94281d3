"""Warm-up, stable, decay: the learning rate as a pure function of the step.

The stable phase needs no planned end (Hu et al. 2024, MiniCPM, arXiv 2404.06395), so a plateau can bring the decay forward
at any step; the decay is 1 - sqrt, which Hägele et al. 2024 (arXiv 2405.18392) found best. It holds no optimiser.
"""

import math
from dataclasses import dataclass, replace

WARMUP_SHARE = 0.1  # of the steps, at most
DECAY_OF_BEST = 0.2  # of the steps to the best weights; 10 to 20 % is enough (Hägele et al. 2024, section 4)


@dataclass(frozen=True)
class Schedule:
    """Steps count from 0; the last one is `end - 1`."""

    warmup: int  # steps of linear warm-up
    decay_from: int  # first step of the decay
    end: int  # number of steps in all

    def factor(self, step: int) -> float:
        """Return the factor of the peak learning rate, in (0, 1]."""
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        if step < self.decay_from:
            return rise
        decayed = (step - self.decay_from + 1) / (self.end - self.decay_from + 1)
        return rise * (1 - math.sqrt(decayed))

    def decay_now(self, step: int, best_step: int) -> "Schedule":
        """Begin the decay at `step`, where training goes back to the weights of `best_step`; its length is a share of those steps."""
        length = max(1, int(best_step * DECAY_OF_BEST))
        return replace(self, decay_from=step, end=min(self.end, step + length))


def plan(steps: int, warmup: int, decay_fraction: float) -> Schedule:
    """Return the schedule of a run of `steps` steps whose last `decay_fraction` (0-0.9) is the decay."""
    assert steps >= 1
    decay = max(1, round(steps * decay_fraction))
    longest_warmup = max(1, round(steps * WARMUP_SHARE))
    return Schedule(warmup=min(warmup, longest_warmup), decay_from=steps - decay, end=steps)
