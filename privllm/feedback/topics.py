"""Topics with bad replies: the share of bad judgements by topic, with intervals.

A judgement is a rating; it is bad if its thumb is down or it was corrected. A topic is a word that
several conversations have in what people asked. Words that always occur together are one topic; a
word in more than half of all conversations is none. That is crude, but nobody labelled questions,
and a word can be checked by reading. Reasons that people gave are not used: satisfied people give
none. Votes are left out: they say which reply is better, not that one is bad.

All judgements of one conversation (the same first question) count together, and a person's judgement
as much as `raters` says. The interval is that of the difference between two shares by Newcombe (1998,
method 10), from Wilson's score intervals: it is valid where all judgements of a topic are bad and no
variance is observed. Bonferroni widens it by the number of topics.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from privllm.feedback.raters import Rater
from privllm.feedback.records import Rating
from privllm.feedback.screening import ScreenedRecord

WORD = re.compile(r"[^\W\d_]{3,30}")
PLACEHOLDER = re.compile(r"<[A-Z_]+>")  # what cleaning puts in place of personal data
MIN_CONVERSATIONS = 6  # effective number that a topic, and all others, must have
MAX_TOPICS = 10  # reported
MAX_NAMES = 3  # words in a topic's name
ALPHA = 0.05
DIGITS = 6


class Judgements(NamedTuple):
    """Judgements added up by conversation, float [conversations] each."""

    bad: np.ndarray  # weight of the bad ones
    weights: np.ndarray
    counts: np.ndarray


def weak_topics(records: Sequence[ScreenedRecord], raters: Mapping[str, Rater]) -> list[dict[str, Any]]:
    """Return at most MAX_TOPICS topics, worst first.

    A topic is reported if its `excess` of bad judgements over all other conversations lies above 0
    with its whole interval.
    """
    judgements, words = _judgements_and_words(records, raters)
    topics = topics_of(words, judgements.weights)
    spots = []
    for name, in_topic in topics.items():
        spot = _spot(name, in_topic, judgements, ALPHA / len(topics))
        if spot["interval"][0] > 0:
            spots.append(spot)
    return sorted(spots, key=lambda spot: (-spot["excess"], spot["slice"]))[:MAX_TOPICS]


def _judgements_and_words(
    records: Sequence[ScreenedRecord],
    raters: Mapping[str, Rater],
) -> tuple[Judgements, dict[str, set[int]]]:
    """Return (judgements, {word: conversations}) of the conversations with a weight."""
    ratings: list[tuple[str, Rating, float]] = []  # (opening, rating, weight)
    for screened in sorted(records, key=lambda record: record.key):
        weight = raters[screened.rater].weight
        if isinstance(screened.record, Rating):
            ratings.append((screened.opening, screened.record, weight))
    openings = sorted({opening for opening, _, weight in ratings if weight > 0})
    index = {opening: i for i, opening in enumerate(openings)}
    judgements = Judgements(*(np.zeros(len(openings)) for _ in Judgements._fields))
    words: defaultdict[str, set[int]] = defaultdict(set)
    for opening, rating, weight in ratings:
        if opening not in index:
            continue
        i = index[opening]
        judgements.bad[i] += weight * (rating.thumb == "down" or bool(rating.correction))
        judgements.weights[i] += weight
        judgements.counts[i] += 1
        for word in words_of(rating):
            words[word].add(i)
    return judgements, words


def _spot(name: str, in_topic: np.ndarray, judgements: Judgements, alpha: float) -> dict[str, Any]:
    share, size = _share(judgements, in_topic)
    other_share, other_size = _share(judgements, ~in_topic)
    low, high = difference(share, size, other_share, other_size, alpha)
    return {
        "kind": "feedback",
        "slice": name,
        "conversations": int(in_topic.sum()),
        "judgements": int(judgements.counts[in_topic].sum()),
        "bad": round(share, DIGITS),
        "excess": round(share - other_share, DIGITS),
        "interval": [round(low, DIGITS), round(high, DIGITS)],
    }


def words_of(record: Rating) -> set[str]:
    """Return the words of the person's messages, in lower case."""
    questions = " ".join(message.content for message in record.messages if message.role == "user")
    return set(WORD.findall(PLACEHOLDER.sub(" ", questions).casefold()))


def topics_of(words: Mapping[str, set[int]], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return {topic: which conversations (bool [conversations]) are about it}.

    Only topics with enough conversations inside and outside of them are returned.
    """
    words_by_conversations: defaultdict[frozenset[int], list[str]] = defaultdict(list)
    for word in sorted(words):
        if len(words[word]) <= len(weights) / 2:
            words_by_conversations[frozenset(words[word])].append(word)
    topics = {}
    for conversations, names in words_by_conversations.items():
        in_topic = np.zeros(len(weights), bool)
        in_topic[list(conversations)] = True
        smaller_size = min(_effective_size(weights[in_topic]), _effective_size(weights[~in_topic]))
        if smaller_size >= MIN_CONVERSATIONS:
            topics[", ".join(names[:MAX_NAMES])] = in_topic
    return topics


def difference(
    share: float,
    size: float,
    other_share: float,
    other_size: float,
    alpha: float,
) -> tuple[float, float]:
    """Return the 1 - `alpha` interval of `share - other_share`, the shares of samples of these sizes."""
    low, high = wilson(share, size, alpha)
    other_low, other_high = wilson(other_share, other_size, alpha)
    middle = share - other_share
    reach_down = float(np.hypot(share - low, other_high - other_share))
    reach_up = float(np.hypot(high - share, other_share - other_low))
    return middle - reach_down, middle + reach_up


def wilson(share: float, count: float, alpha: float) -> tuple[float, float]:
    """Return Wilson's score interval of a share (1927)."""
    squared = NormalDist().inv_cdf(1 - alpha / 2) ** 2
    scale = 1 + squared / count
    middle = (share + squared / (2 * count)) / scale
    variance = share * (1 - share) / count + squared / (4 * count**2)
    reach = np.sqrt(squared * variance) / scale
    return float(middle - reach), float(middle + reach)


def _share(judgements: Judgements, selected: np.ndarray) -> tuple[float, float]:
    """Return (weighted share of bad judgements, effective number) of the selected conversations."""
    weights = judgements.weights[selected]
    return float(judgements.bad[selected].sum() / weights.sum()), _effective_size(weights)


def _effective_size(weights: np.ndarray) -> float:
    """Return Kish's effective sample size: how many equally heavy conversations these are worth."""
    if not weights.any():
        return 0.0
    return float(weights.sum() ** 2 / (weights**2).sum())
