"""How long a training lasts: steps by epochs of its rows or lessons, and what follows from few of them.

    steps = epochs * rows / batch_size, rounded up

It also says when a budget does not suit the corpus. It reads no file, holds no schedule, and imports nothing that trains.
"""

import math
from typing import NamedTuple

LEAST_STEPS = 20  # of a pretraining: below, warm-up and decay are most of it
LESSON_STEPS = 60  # of a fine-tuning, as long as no example is seen more than `MOST_SHOWN` times
MOST_SHOWN = 15  # times, unless `epochs` asks for more: as often as LIMA's 1,000 (Zhou et al. 2023, arXiv 2305.11206)
VALIDATIONS = 10  # of a fine-tuning at least
LOOKS = 6  # validations of a pretraining at least, which cost a short one some 3 % of its time
LEAST_BETWEEN = 10  # steps between two validations of a pretraining

FAR_BELOW = 0.5  # epochs
MOST_EPOCHS = 16.0  # beyond, a repetition teaches next to nothing (Muennighoff et al. 2023, arXiv 2305.16264)
SCRATCH_TOKENS = 100_000_000  # below, a base model knows more of the language than the corpus can teach


def steps_of(epochs: float, rows: float, batch_size: int) -> int:
    """Return how many batches read `rows` rows `epochs` times, the last batch filled up."""
    batches = epochs * rows / batch_size
    return max(1, math.ceil(round(batches, 6)))  # 40.000000001 is 40


def pretraining_steps(epochs: float, rows: int, batch_size: int) -> int:
    """Return the steps of a pretraining, `LEAST_STEPS` at least."""
    return max(LEAST_STEPS, steps_of(epochs, rows, batch_size))


def rows_of_epoch(known: int, new: int, replay: float) -> int:
    """Return how many rows are read until the new ones have been read once, the share `replay` of known ones among them.

    Where rows are not told apart (`replay` 1, or of one kind only) that is all of them.
    """
    if replay == 1 or not known or not new:
        return known + new
    return math.ceil(round(new / (1 - replay), 6))


def steps_between_validations(affordable: int, steps: int, epoch: int) -> int:
    """Return `affordable`, or fewer: a share of the steps of a short pretraining, which else would be over before a plateau shows.

    Or the steps of an `epoch`, since a small text is known by heart after a few; but at least half of `affordable`.
    """
    once_an_epoch = max(epoch, affordable // 2)
    return min(affordable, max(LEAST_BETWEEN, min(once_an_epoch, steps // LOOKS)))


class LessonBudget(NamedTuple):
    """What a fine-tuning does with its examples."""

    batch_size: int
    steps: int
    learning_rate: float  # peak
    validate_every: int  # steps


def lesson_budget(lessons: int, epochs: float, batch_size: int, learning_rate: float) -> LessonBudget:
    """Return the budget of a fine-tuning on so many lessons.

    A batch has no lesson twice. Few lessons are seen more than `epochs` times, until there are `LESSON_STEPS` steps, and never for
    that reason more than `MOST_SHOWN` times. A smaller batch takes a lower rate, by the square root of its size (Malladi et al.
    2022, arXiv 2205.10287). Ten validations, or one after each step, can end it early.
    """
    assert lessons >= 1
    batch = min(batch_size, lessons)
    most_steps = steps_of(MOST_SHOWN, lessons, batch)
    steps = max(steps_of(epochs, lessons, batch), min(LESSON_STEPS, most_steps))
    rate = learning_rate * math.sqrt(batch / batch_size)
    return LessonBudget(batch, steps, rate, validate_every=max(1, steps // VALIDATIONS))


def budget_warnings(epochs: float, tokens: int, from_scratch: bool) -> list[str]:
    """Return what does not suit a corpus of so many training tokens, in sentences."""
    warnings = []
    if epochs < FAR_BELOW:
        warnings.append(
            f"the budget of {epochs:.2g} epochs leaves {1 - epochs:.0%} of the corpus unread; the held-out loss falls "
            "until all of it has been read at least once: raise `epochs`, or take a smaller model."
        )
    if epochs > MOST_EPOCHS:
        warnings.append(
            f"the budget of {epochs:.3g} epochs is above {MOST_EPOCHS:.0f}, where a further repetition teaches next to nothing "
            "(Muennighoff et al. 2023): lower `epochs`, or add documents."
        )
    if from_scratch and tokens < SCRATCH_TOKENS:
        warnings.append(
            f"{tokens:,} tokens are few to learn a language from (below about {SCRATCH_TOKENS // 1_000_000} million): a model "
            "that starts from a base on this machine knows more; see docs/guides/bring-a-model.md."
        )
    return warnings
