"""Explanations of the numbers on the page, a sentence each.

One table of (stage, key, label, sentence, format, headline). Numbers are selected and formatted, not
computed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from privllm.report.funnel import Reports


@dataclass(frozen=True)
class Fact:
    """A number on the page, formatted, with its meaning."""

    label: str
    value: str
    meaning: str
    headline: bool  # one of the few at the top of the page


def whole(value: Any) -> str:
    return f"{value:,.0f}"


def short(value: float) -> str:
    """Format a number whose size matters more than its digits: 1234567 -> 1.23 M."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def places(digits: int) -> Callable[[Any], str]:
    return lambda value: f"{value:,.{digits}f}"


def share(value: Any) -> str:
    return f"{value:.1%}"


def per_split(key: str) -> Callable[[Any], str]:
    return lambda value: short(value.get(key, 0))


# stage, key, label, sentence, format, headline
MEANINGS: tuple[tuple[str, str, str, str, Callable[[Any], str], bool], ...] = (
    ("dedup", "kept", "Documents", "what is left after cleaning and deduplication; all later stages see these and no others.", whole, True),
    (
        "pack",
        "tokens",
        "Training tokens",
        "pieces of text the model may learn from, those of the training split.",
        per_split("train"),
        True,
    ),
    ("pretrain", "parameters", "Parameters", "weights that training sets.", short, True),
    (
        "evaluate",
        "perplexity",
        "Held-out perplexity",
        "how many tokens the model hesitates between, on documents it never saw. "
        "Lower is better; compare only models of one family with the same tokenizer.",
        places(2),
        True,
    ),
    (
        "evaluate",
        "bits_per_byte",
        "Bits per byte",
        "how many bits the model needs for one byte of held-out text. Lower is "
        "better; fair across tokenizers, not across families. A byte stored plainly takes 8.",
        places(3),
        True,
    ),
    ("evaluate", "accuracy", "Token accuracy", "how often the model's first guess is the token that stands there.", share, True),
    (
        "evaluate",
        "bleu",
        "BLEU",
        "overlap of greedy continuations with what the document really says (0 to 1, corpus "
        "BLEU, 13a tokens). Low is normal: many continuations are right.",
        places(3),
        False,
    ),
    ("evaluate", "chrf", "chrF", "the same overlap counted in characters (0 to 1), kinder to inflections.", places(3), False),
    ("dedup", "clusters_of_many", "Clusters", "groups of documents that say (nearly) the same; one of each is kept.", whole, False),
    ("dedup", "largest_cluster", "Largest cluster", "documents in the biggest such group.", whole, False),
    ("tokenizer", "vocabulary", "Vocabulary", "different tokens the tokenizer knows.", whole, False),
    (
        "tokenizer",
        "bytes_per_token",
        "Bytes per token",
        "how much text one token carries on average; more means shorter sequences.",
        places(2),
        False,
    ),
    ("pack", "context", "Context", "tokens the model sees at once in training.", whole, False),
    (
        "pretrain",
        "start",
        "Started from",
        "scratch (fresh weights), the incumbent (the last promoted model) or a model below data/base.",
        str,
        False,
    ),
    ("pretrain", "start_loss", "Loss before the first step", "nats per held-out token that the start needed.", places(3), False),
    ("pretrain", "rows_new", "New rows", "rows of training text that hold a document which is new to the start, or changed.", whole, False),
    ("pretrain", "rows_known", "Known rows", "rows whose documents the start was trained on as they are.", whole, False),
    (
        "pretrain",
        "replayed",
        "Replayed",
        "share of the rows trained on that were known ones, so that they are not forgotten.",
        share,
        False,
    ),
    ("pretrain", "steps", "Steps", "updates of the weights.", whole, False),
    ("pretrain", "tokens", "Tokens seen", "tokens that passed through the model in training, repeats included.", short, False),
    ("pretrain", "epochs", "Epochs", "how often the training text was gone through.", places(2), False),
    ("pretrain", "train_loss", "Training loss", "nats per token at the end of training, on what it learns from.", places(3), False),
    (
        "pretrain",
        "validation_loss",
        "Validation loss",
        "nats per token on held-back documents; training stops or decays by it. Far above the training loss means learning by heart.",
        places(3),
        False,
    ),
    ("pretrain", "validation_perplexity", "Validation perplexity", "e to the power of the validation loss.", places(2), False),
    ("pretrain", "stopped_by", "Stopped by", "what ended training.", str, False),
    ("annotate", "tokens", "Annotated tokens", "words and signs that were given a part of speech.", whole, False),
    ("annotate", "entities", "Entities", "names of people, places and organisations that were marked.", whole, False),
)


def facts(reports: Reports) -> dict[str, list[Fact]]:
    """Return {stage: facts} of the numbers that the reports have."""
    by_stage: dict[str, list[Fact]] = {}
    for stage, key, label, meaning, form, headline in MEANINGS:
        value = (reports.get(stage) or {}).get(key)
        if value is not None:
            by_stage.setdefault(stage, []).append(Fact(label, form(value), meaning, headline))
    return by_stage
