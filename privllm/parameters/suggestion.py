"""What to set for a corpus on a machine: rules of thumb, each with its reason. Pure: sizes and a measured speed in, values out.

The reasons at length, with what was measured, are in docs/explain/training.md. It reads and writes no file.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from privllm.parameters.edit import Value
from privllm.train.budget import MOST_EPOCHS, budget_warnings

SHAPES = ((4, 128, 2), (4, 192, 3), (6, 256, 4), (8, 384, 6), (8, 512, 8), (12, 768, 12), (16, 1024, 16))  # heads of 64
PARAMETERS_PER_TOKEN = 10  # of a shape at most: nanoGPT's best for 0.3 million tokens of Shakespeare has 11 million
LEAST_EPOCHS = 1.0  # that a larger shape must leave time for
ENOUGH_READ = 4_000_000  # tokens; a corpus of fewer is read more than once
SMALL_VOCABULARY = 1024  # tokens
BYTES_OF_SMALL, BYTES_OF_LARGE = 2.6, 3.6  # of English text a token, with a small vocabulary and with a larger one
FEW_TOKENS = 100_000  # fewer are learnt by heart after `EPOCHS_OF_FEW` (reports/LOG.md)
EPOCHS_OF_FEW, EPOCHS_AT_MOST = 4.0, 8.0
FEW_EPOCHS = 2.0  # of which little is learnt by heart
STEPS = 1_000  # about so many at least, so that steps of a short training are small
LONGEST_ON_CPU, LONGEST_ON_GPU, SHORTEST = 512, 1024, 128  # tokens of context
STEP_ON_CPU, STEP_ON_GPU, SMALLEST_STEP = 4096, 32_768, 1024  # tokens a step
RATE_WIDTH = 256  # at which the shipped learning rates were chosen


@dataclass(frozen=True)
class CorpusFacts:
    """What is known of the text."""

    tokens: int  # of the training split
    document_tokens: int  # of a document on average
    vocabulary: int  # whose tokens these are
    source: str  # where the figures are from, in words


class Setting(NamedTuple):
    """A value for params.yaml, and why."""

    key: str
    value: Value
    reason: str


class FamilyPlan(NamedTuple):
    """What is suggested for one family."""

    settings: list[Setting]
    seconds: float  # that training takes at the measured speed
    warnings: list[str]


Speed = Callable[[tuple[int, int, int], int, int], float]  # (shape, context, batch size) -> tokens a second, measured


def bytes_per_token(vocabulary: int) -> float:
    """Return how many bytes of text a token stands for, about."""
    return BYTES_OF_SMALL if vocabulary <= SMALL_VOCABULARY else BYTES_OF_LARGE


def context_for(corpus: CorpusFacts, gpu: bool) -> Setting:
    """Return the context that holds the average document."""
    longest = LONGEST_ON_GPU if gpu else LONGEST_ON_CPU
    holds = 2 ** math.ceil(math.log2(max(1, corpus.document_tokens)))
    context = min(longest, max(SHORTEST, holds))
    reason = f"a document has {corpus.document_tokens:,} tokens on average"
    if holds > longest:
        reason += f", but attention to more than {longest} costs more on {'a GPU' if gpu else 'a CPU'} than it teaches so small a model"
    return Setting("pack.context", context, reason)


def batch_for(tokens_read: float, context: int, gpu: bool) -> Setting:
    """Return the rows of a step: so few that there are about `STEPS` of them, where the device allows it."""
    most = STEP_ON_GPU if gpu else STEP_ON_CPU
    tokens = min(most, max(SMALLEST_STEP, tokens_read / STEPS))
    rows = max(1, round(tokens / context))
    return Setting(
        "batch_size", rows, f"{rows * context:,} tokens a step: many small steps learn faster than few large ones"
    )


def wanted_epochs(tokens: int) -> float:
    """Return how often a corpus is read where time does not matter."""
    most = EPOCHS_OF_FEW if tokens < FEW_TOKENS else EPOCHS_AT_MOST
    return min(most, max(LEAST_EPOCHS, round(ENOUGH_READ / max(1, tokens))))


def regularisation_for(epochs: float) -> list[Setting]:
    """Return dropout and weight decay by how often a text is seen."""
    if epochs <= FEW_EPOCHS:
        reason = f"at {epochs:g} epochs little is learnt by heart"
        return [Setting("model.dropout", 0.0, reason), Setting("weight_decay", 0.1, reason)]
    reason = f"a text that is read {epochs:g} times is learnt by heart without"
    return [Setting("model.dropout", 0.1, reason), Setting("weight_decay", 0.5 if epochs > 4 else 0.2, reason)]


def embeddings_for(epochs: float) -> list[Setting]:
    """Return one matrix for both embeddings where a text is read often, and nothing elsewhere."""
    if epochs <= FEW_EPOCHS:
        return []
    return [
        Setting("model.tie_embeddings", True, f"a text that is read {epochs:g} times is learnt worse with two matrices")
    ]


def rate_for(rate: float, width: int, step_tokens: int) -> Setting:
    """Return the peak learning rate: the shipped one, lower for wider models, higher for larger steps."""
    scaled = rate * math.sqrt(min(1.0, RATE_WIDTH / width)) * math.sqrt(min(4.0, step_tokens / SMALLEST_STEP))
    return Setting(
        "learning_rate", float(f"{scaled:.2g}"), f"{rate:g} at width {RATE_WIDTH}, by the root of width and step"
    )


def parameters_of(shape: tuple[int, int, int]) -> int:
    """Return the weights of a shape's blocks, about: attention 4 and a gated feed-forward part 8 times the square of the width."""
    layers, width, _ = shape
    return layers * 12 * width * width


def plan_family(
    corpus: CorpusFacts,
    context: int,
    gpu: bool,
    rate: float,
    speed: Speed,
    seconds: float | None,
    shape: tuple[int, int, int] | None = None,
    most_epochs: float = math.inf,
) -> FamilyPlan:
    """Return the settings of one family that trains for at most `seconds`, with the keys below its section.

    `rate` is the family's shipped learning rate. With a `shape`, that of its base, none is suggested.
    """
    from_scratch = shape is None
    wanted = min(most_epochs, wanted_epochs(corpus.tokens))
    candidates = [shape] if shape else _within_data(corpus.tokens)
    chosen, tokens_per_second, batch = candidates[0], 0.0, batch_for(0, context, gpu)
    for candidate in candidates:  # from small to large
        candidate_batch = batch_for(wanted * corpus.tokens, context, gpu)
        measured = speed(candidate, context, int(candidate_batch.value))
        if candidate is not candidates[0] and seconds is not None and seconds * measured < LEAST_EPOCHS * corpus.tokens:
            break
        chosen, tokens_per_second, batch = candidate, measured, candidate_batch
    possible = math.inf if seconds is None else seconds * tokens_per_second / corpus.tokens
    epochs = float(f"{min(wanted, possible):.2g}")
    batch = batch_for(epochs * corpus.tokens, context, gpu)
    settings = []
    if from_scratch:
        settings += _shape_settings(chosen, corpus.tokens, seconds if epochs >= LEAST_EPOCHS else None)
        settings += embeddings_for(epochs)
    settings += [
        batch,
        Setting("epochs", epochs, _reason_of_epochs(corpus.tokens, epochs, wanted, tokens_per_second)),
        rate_for(rate if from_scratch else rate / 3, chosen[1], int(batch.value) * context),
        *regularisation_for(epochs),
    ]
    trained_seconds = epochs * corpus.tokens / tokens_per_second
    return FamilyPlan(settings, trained_seconds, budget_warnings(epochs, corpus.tokens, from_scratch))


def _within_data(tokens: int) -> list[tuple[int, int, int]]:
    """Return the shapes that the corpus can teach, the smallest always."""
    smallest, *others = SHAPES
    return [smallest, *(shape for shape in others if parameters_of(shape) <= PARAMETERS_PER_TOKEN * tokens)]


def _shape_settings(shape: tuple[int, int, int], tokens: int, seconds: float | None) -> list[Setting]:
    layers, width, heads = shape
    parameters = parameters_of(shape) / 1e6
    reason = f"{parameters:.1f} million weights for {tokens:,} tokens"
    if seconds is not None:
        reason += f"; the largest of our shapes that reads all of them in {seconds / 60:.3g} minutes"
    return [
        Setting("model.layers", layers, reason),
        Setting("model.width", width, reason),
        Setting("model.heads", heads, "heads of 64, as is usual"),
    ]


def _reason_of_epochs(tokens: int, epochs: float, wanted: float, tokens_per_second: float) -> str:
    minutes = epochs * tokens / tokens_per_second / 60
    reason = f"{epochs * tokens:,.0f} tokens at {tokens_per_second:,.0f} a second, as measured: {minutes:.1f} minutes"
    if epochs < wanted:
        return f"{reason}; {wanted:g} would be better, and need more minutes"
    if wanted > 1:
        return f"{reason}; a small corpus bears repetition, up to {MOST_EPOCHS:.0f} times (Muennighoff et al. 2023)"
    return reason
