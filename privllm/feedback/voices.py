"""Voices: what each person's judgements weigh together, and a bound on one person's share of all of it.

    voice = weight * kept records      of a person, on one side of the split

Both sides are bounded by themselves: whoever sees by the hash which questions are held out could
speak of these alone, and would decide how a model is judged. Where there are too few people for the
bound, all are equal; a person alone is not bounded. Names are not people: who invents many has many
voices, which access tokens prevent and a file does not.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from privllm.feedback.raters import WEIGHT_DIGITS, Rater

Side = str  # "training" or "held out"


def bound_voices(
    raters: Mapping[str, Rater],
    kept: Mapping[Side, Mapping[str, int]],
    max_share: float,
) -> dict[str, Rater]:
    """Return the raters with weights by which none has more than `max_share` of a side's voices.

    kept: records of each rater on each side.
    """
    factors = {}
    for side in ("training", "held out"):
        voices = {rater: raters[rater].weight * count for rater, count in kept[side].items()}
        factors[side] = voice_factors(voices, max_share)
    bounded = {}
    for name, rater in raters.items():
        training, held_out = (factors[side].get(name, 1.0) for side in ("training", "held out"))
        bounded[name] = replace(
            rater,
            weight=round(rater.weight * training, WEIGHT_DIGITS),
            held_out_weight=round(rater.weight * held_out, WEIGHT_DIGITS),
            named=(*rater.named, "voice") if min(training, held_out) < 1 else rater.named,
        )
    return bounded


def largest_voice(raters: Mapping[str, Rater], kept: Mapping[Side, Mapping[str, int]]) -> float:
    """Return the largest share of a side's weight that one person has; NaN where no side has several people."""
    shares = []
    for side, counts in kept.items():
        voices = []
        for name, count in counts.items():
            rater = raters[name]
            voices.append(count * (rater.weight if side == "training" else rater.held_out_weight))
        total = math.fsum(voices)
        if total and len(voices) > 1:
            shares.append(round(max(voices) / total, 3))
    return max(shares, default=math.nan)


def voice_factors(voices: Mapping[str, float], max_share: float) -> dict[str, float]:
    """Return by what each voice is to be multiplied, at most 1, so that none has over `max_share` of their sum."""
    heard = sorted((voice for voice in voices.values() if voice > 0), reverse=True)
    if not heard:
        return {}
    share = max(max_share, 1 / len(heard))
    largest = heard[0]
    for above, next_voice in enumerate(heard):  # voices that are lowered; the next one is not
        largest = share * math.fsum(heard[above:]) / (1 - above * share)
        if next_voice <= largest * (1 + 1e-9):
            break
    return {name: 1.0 if voice <= largest * (1 + 1e-9) else largest / voice for name, voice in voices.items()}
