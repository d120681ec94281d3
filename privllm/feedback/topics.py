"""Which questions get bad replies: the share of bad judgements by topic, with intervals.

A judgement is a rating; it is bad if its thumb is down or it was corrected. A topic is a word that several conversations hold in what
people asked; words that always come together are one topic, a word in more than half of all conversations is none. That is crude, and it
is all there: nobody labelled questions, and a word can be checked by reading. Reasons that people gave are no topics, for who is content
gives none.

All that was said of one conversation (the same first question) counts together, and a person's word as much as `raters` says. The
interval is that of the difference between two shares by Newcombe (1998, method 10), from Wilson's score intervals: it holds where all
judgements of a topic are bad and no variance is seen. Bonferroni widens it by the number of topics looked at. Votes say which reply is
better, not that one is bad, so they are left out.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from privllm.feedback.raters import Rater
from privllm.feedback.records import Rating
from privllm.feedback.screening import ScreenedRecord

WORD = re.compile(r"[^\W\d_]{3,30}")
PLACEHOLDER = re.compile(r"<[A-Z_]+>")  # what personal data was replaced by
LEAST = 6  # conversations that a topic, and the rest, must be worth
WORST = 10  # topics that are named
NAMED = 3  # words of a topic
ALPHA = 0.05
DIGITS = 6


def weak_topics(kept: Sequence[ScreenedRecord], raters: Mapping[str, Rater]) -> list[dict[str, Any]]:
    """The WORST topics whose `excess` of bad judgements over the rest lies above 0 with its whole interval, worst first."""
    ratings = [
        (one.opening, one.record, raters[one.rater].weight)
        for one in sorted(kept, key=lambda one: one.key)
        if isinstance(one.record, Rating)
    ]
    openings = sorted({opening for opening, _, weight in ratings if weight > 0})
    place = {opening: i for i, opening in enumerate(openings)}
    bad, weights, judgements = (np.zeros(len(openings)) for _ in range(3))
    words: defaultdict[str, set[int]] = defaultdict(set)
    for opening, record, weight in ratings:
        if opening in place:
            i = place[opening]
            bad[i] += weight * (record.thumb == "down" or bool(record.correction))
            weights[i] += weight
            judgements[i] += 1
            for word in words_of(record):
                words[word].add(i)
    found: list[dict[str, Any]] = []
    topics = topics_of(words, weights)
    for name, inside in topics.items():
        (share, worth), (rest, rest_worth) = (_share(bad[side], weights[side]) for side in (inside, ~inside))
        low, high = difference(share, worth, rest, rest_worth, ALPHA / len(topics))
        if round(low, DIGITS) > 0:
            counts = {"conversations": int(inside.sum()), "judgements": int(judgements[inside].sum())}
            shares = {"bad": round(share, DIGITS), "excess": round(share - rest, DIGITS)}
            found.append({"kind": "feedback", "slice": name, **counts, **shares, "interval": [round(low, DIGITS), round(high, DIGITS)]})
    return sorted(found, key=lambda spot: (-spot["excess"], spot["slice"]))[:WORST]


def words_of(record: Rating) -> set[str]:
    """The words of what the person said, small letters."""
    asked = " ".join(message.content for message in record.messages if message.role == "user")
    return set(WORD.findall(PLACEHOLDER.sub(" ", asked).casefold()))


def topics_of(words: Mapping[str, set[int]], weights: np.ndarray) -> dict[str, np.ndarray]:
    """{topic: which conversations (bool [conversations]) are about it}, those worth comparing with the rest."""
    together: defaultdict[frozenset[int], list[str]] = defaultdict(list)
    for word in sorted(words):
        if len(words[word]) <= len(weights) / 2:
            together[frozenset(words[word])].append(word)
    topics = {}
    for members, names in together.items():
        inside = np.zeros(len(weights), bool)
        inside[list(members)] = True
        if min(_worth(weights[inside]), _worth(weights[~inside])) >= LEAST:
            topics[", ".join(names[:NAMED])] = inside
    return topics


def difference(share: float, worth: float, rest: float, rest_worth: float, alpha: float) -> tuple[float, float]:
    """The interval of `share - rest`, shares of so many conversations, that leaves `alpha` out."""
    (low, high), (rest_low, rest_high) = (wilson(share, worth, alpha), wilson(rest, rest_worth, alpha))
    middle = share - rest
    return middle - float(np.hypot(share - low, rest_high - rest)), middle + float(np.hypot(high - share, rest - rest_low))


def wilson(share: float, count: float, alpha: float) -> tuple[float, float]:
    """Wilson's score interval of a share (1927)."""
    squared = NormalDist().inv_cdf(1 - alpha / 2) ** 2
    middle = (share + squared / (2 * count)) / (1 + squared / count)
    reach = np.sqrt(squared * (share * (1 - share) / count + squared / (4 * count**2))) / (1 + squared / count)
    return float(middle - reach), float(middle + reach)


def _share(bad: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The weighted share of bad judgements, and how many equally heavy conversations it speaks of."""
    return float(bad.sum() / weights.sum()), _worth(weights)


def _worth(weights: np.ndarray) -> float:
    return float(weights.sum() ** 2 / (weights**2).sum()) if weights.any() else 0.0
