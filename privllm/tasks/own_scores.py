"""Scores of a project's own: the dict TASK_SCORES of its extensions, `{name: TaskScore(kinds, score)}`.

A score is a pure function of the right answer and the model's, for one held-out example: two labels
(classification), two lists of labels (tokens) or two texts (text2text, chat). More is better. Its mean
is reported beside privllm's own scores, and compared with the same intervals.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from privllm.engine.extensions import Extensions
from privllm.engine.load_extensions import Entry, entries_of
from privllm.stats.scores import Score, mean_of
from privllm.tasks.formats import KINDS

OF_TEXTS = ("loss", "rouge_l", "exact_match", "f1", "bleu", "chrf")
SCORES = {  # privllm's own, by kind of task
    "classification": ("accuracy", "macro_f1", "loss"),
    "tokens": ("span_f1", "loss"),
    "text2text": OF_TEXTS,
    "chat": OF_TEXTS,
}
NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class TaskScore:
    """A score of tasks of some kinds."""

    kinds: tuple[str, ...]  # of classification, tokens, text2text, chat
    score: Callable[[Any, Any], float]  # of the right answer and the model's


@cache
def task_scores(extensions: Extensions) -> Mapping[str, Entry]:
    """Return the scores by name. Raises UserError for one that cannot be used, and for a name that is taken."""
    scores = entries_of("TASK_SCORES", extensions)
    taken = {name for names in SCORES.values() for name in names}
    for name, entry in scores.items():
        entry.require(name not in taken, "is a score of privllm's own: give yours another name")
        entry.require(NAME.fullmatch(name) is not None, "must be a name of small letters, digits and _")
        entry.require(isinstance(entry.value, TaskScore), "must be TaskScore(kinds, score)")
        kinds = entry.value.kinds
        are_kinds = isinstance(kinds, tuple) and bool(kinds) and set(kinds) <= set(KINDS)
        entry.require(are_kinds, f"has the kinds {kinds!r}: they must be a tuple of {', '.join(KINDS)}")
        entry.require(callable(entry.value.score), "has a score that is no function of two answers")
    return scores


def own_scores(
    extensions: Extensions, kind: str, expected: Sequence[Any], predicted: Sequence[Any]
) -> dict[str, Score]:
    """Return the own scores for a kind of task, of the same examples as the answers. Raises UserError for one that is no number."""
    scores = {}
    for name, entry in task_scores(extensions).items():
        if kind not in entry.value.kinds:
            continue
        values = []
        for right, answer in zip(expected, predicted, strict=True):
            with entry.blamed("an answer"):
                value = entry.value.score(right, answer)
            is_number = isinstance(value, bool | int | float) and math.isfinite(value)
            entry.require(is_number, f"returned {value!r} for an answer: it must be a finite number")
            values.append(float(value))
        scores[name] = mean_of(values)
    return scores
