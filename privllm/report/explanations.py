"""Explanations of the numbers on the page, a sentence each.

`EXPLANATIONS` lists the numbers of each stage. They are selected and formatted, not computed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from privllm.report.funnel import Reports


@dataclass(frozen=True)
class Fact:
    """A number on the page, formatted, with its meaning."""

    label: str
    value: str
    meaning: str
    headline: bool  # one of the few at the top of the page


def whole(value: Any) -> str:
    """Format a whole number: 1,234."""
    return f"{value:,.0f}"


def short(value: float) -> str:
    """Format a number whose size matters more than its digits: 1234567 -> 1.23 M."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def places(digits: int) -> Callable[[Any], str]:
    """Return a format with a fixed number of decimals."""
    return lambda value: f"{value:,.{digits}f}"


def share(value: Any) -> str:
    """Format a share as a percentage: 12.3%."""
    return f"{value:.1%}"


def per_split(key: str) -> Callable[[Any], str]:
    """Return a format for one split of a {split: number}."""
    return lambda value: short(value.get(key, 0))


def copied_of_test(value: Any) -> str:
    """Format the copied share of the test split: 56.5% of 13,210 words."""
    test = value.get("test", {})
    return f"{share(test.get('copied_share', 0))} of {whole(test.get('words', 0))} words"


class Explanation(NamedTuple):
    """How one number of a report is labelled, formatted and explained."""

    key: str  # of the stage's report
    label: str
    meaning: str  # a sentence
    form: Callable[[Any], str]
    headline: bool = False


EXPLANATIONS: dict[str, list[Explanation]] = {
    "dedup": [
        Explanation(
            "kept",
            "Documents",
            "documents left after cleaning and deduplication, which all later stages work on.",
            whole,
            headline=True,
        ),
        Explanation(
            "clusters_of_many",
            "Clusters",
            "groups of equal or nearly equal documents; one of each group is kept, and what is unlike that one.",
            whole,
        ),
        Explanation("largest_cluster", "Largest cluster", "documents in the largest group.", whole),
        Explanation(
            "held_out",
            "Copied test text",
            "words of the test documents in runs of 13 or more that also stand in training documents; figures called clean leave them out.",
            copied_of_test,
        ),
    ],
    "pack": [
        Explanation(
            "tokens",
            "Training tokens",
            "pieces of text in the training split, which the model learns from.",
            per_split("train"),
            headline=True,
        ),
        Explanation("context", "Context", "tokens that the model sees at once in training.", whole),
    ],
    "pretrain": [
        Explanation("parameters", "Parameters", "weights that training sets.", short, headline=True),
        Explanation(
            "start",
            "Started from",
            "scratch (random weights), the incumbent (the last promoted model) or a model below data/base.",
            str,
        ),
        Explanation(
            "start_loss",
            "Loss before the first step",
            "nats per held-out token before training.",
            places(3),
        ),
        Explanation(
            "rows_new",
            "New rows",
            "rows of training text with a document that the starting model was not trained on, or that changed since.",
            whole,
        ),
        Explanation(
            "rows_known",
            "Known rows",
            "rows whose documents the starting model was trained on, unchanged.",
            whole,
        ),
        Explanation(
            "replayed",
            "Replayed",
            "share of known rows among the rows trained on, which keeps the model from forgetting them.",
            share,
        ),
        Explanation("steps", "Steps", "updates of the weights.", whole),
        Explanation("tokens", "Tokens seen", "tokens processed in training, including repetitions.", short),
        Explanation("epochs", "Epochs", "number of passes over the training text.", places(2)),
        Explanation(
            "train_loss",
            "Training loss",
            "nats per token on the training text at the end of training.",
            places(3),
        ),
        Explanation(
            "validation_loss",
            "Validation loss",
            "nats per token on held-out documents, without what they copy from training text; it decides when training stops or decays. "
            "A value far above the training loss means overfitting. Weights that go back towards a base's are not measured again.",
            places(3),
        ),
        Explanation(
            "validation_on",
            "Validation loss is of",
            "clean tokens; or all, where more than 90 % of the validation split's tokens are copied from training text.",
            str,
        ),
        Explanation(
            "validation_perplexity",
            "Validation perplexity",
            "e to the power of the validation loss.",
            places(2),
        ),
        Explanation(
            "best_step",
            "Kept step",
            "the step after which the model had the weights that are kept: those with the lowest held-out loss.",
            whole,
        ),
        Explanation("stopped_by", "Stopped by", "the reason why training ended.", str),
    ],
    "evaluate": [
        Explanation(
            "perplexity",
            "Held-out perplexity",
            "the number of tokens that the model is undecided between, on documents that it was not trained on. "
            "Lower is better; compare only models of one family with the same tokenizer.",
            places(2),
            headline=True,
        ),
        Explanation(
            "bits_per_byte_clean",
            "Bits per byte, clean",
            "bits that the model needs for one byte of held-out text that does not also stand in training. Lower is better; "
            "comparable between tokenizers. An uncompressed byte takes 8.",
            places(3),
            headline=True,
        ),
        Explanation(
            "bits_per_byte",
            "Bits per byte, all",
            "the same of all held-out text, copies of training text included.",
            places(3),
        ),
        Explanation(
            "pseudo_bits_clean",
            "Pseudo-bits per byte, clean",
            "bits that the model needs for a byte of hidden tokens of which it sees both sides. No probability of a text, so "
            "not comparable with bits per byte; of held-out text that does not also stand in training.",
            places(3),
            headline=True,
        ),
        Explanation(
            "pseudo_bits",
            "Pseudo-bits per byte, all",
            "the same of all held-out text.",
            places(3),
        ),
        Explanation(
            "denoising_bits_clean",
            "Denoising bits per byte, clean",
            "bits that the model needs for a byte of spans cut out of a text, from what is around them. Not comparable with "
            "bits per byte; of held-out text that does not also stand in training.",
            places(3),
            headline=True,
        ),
        Explanation(
            "denoising_bits",
            "Denoising bits per byte, all",
            "the same of all held-out text.",
            places(3),
        ),
        Explanation(
            "accuracy",
            "Token accuracy",
            "share of tokens that are the model's first guess.",
            share,
            headline=True,
        ),
        Explanation(
            "bleu",
            "BLEU",
            "overlap of greedy continuations with the document's own text (0 to 1, corpus "
            "BLEU, 13a tokens). Low is normal: many continuations are right.",
            places(3),
        ),
        Explanation(
            "chrf",
            "chrF",
            "the same overlap counted in characters (0 to 1), more tolerant of inflections.",
            places(3),
        ),
    ],
    "tokenizer": [
        Explanation("vocabulary", "Vocabulary", "number of different tokens.", whole),
        Explanation(
            "bytes_per_token",
            "Bytes per token",
            "average length of a token; longer tokens mean shorter sequences.",
            places(2),
        ),
        Explanation(
            "unknown_tokens",
            "Unknown tokens",
            "of the sample, that stand for a character or a word that the base model's vocabulary lacks.",
            whole,
        ),
    ],
    "annotate": [
        Explanation("tokens", "Annotated tokens", "words and punctuation marks with a part of speech.", whole),
        Explanation("entities", "Entities", "names of people, places and organisations that were found.", whole),
    ],
}


def facts(reports: Reports) -> dict[str, list[Fact]]:
    """Return {stage: facts} of the numbers that the reports have."""
    by_stage: dict[str, list[Fact]] = {}
    for stage, explanations in EXPLANATIONS.items():
        report = reports.get(stage) or {}
        for key, label, meaning, form, headline in explanations:
            value = report.get(key)
            if value is not None:
                by_stage.setdefault(stage, []).append(Fact(label, form(value), meaning, headline))
    return by_stage
