"""The held-out figures of a family as people read them: those of the test split, of all text and of clean text, a line each.

What bits per byte are called differs from family to family (`core.families`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from privllm.core.families import CLEAN, TRAITS

BITS = "bits_per_byte"
TOO_FEW = "too few"


class HeldOutLine(NamedTuple):
    """One figure of the table."""

    split: str
    is_clean: bool  # of text that was not copied from training
    label: str  # pseudo bits per byte, all text
    value: float
    interval: str  # "1.200–1.400", or TOO_FEW
    documents: int
    left_out: int  # documents that the model was trained on before


def judged(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return evaluate's report with the figures of the test split in the place of those of the validation split."""
    return {**evaluation, **evaluation.get("test", {})}


def bits_name(figures: Mapping[str, Any]) -> str:
    """Return what bits per byte are called in these figures."""
    known = [traits.bits for traits in TRAITS.values() if traits.bits in figures]
    return known[0] if known else BITS


def spoken(name: str) -> str:
    """Return the name of a figure as people say it: pseudo bits per byte."""
    words = name.replace("_", " ")
    return words if words.endswith("per byte") else f"{words} per byte"


def held_out_lines(evaluation: Mapping[str, Any]) -> list[HeldOutLine]:
    """Return the table of a family, test before validation; empty where nothing was measured."""
    lines = []
    for split, figures in (("test", evaluation.get("test", {})), ("validation", evaluation)):
        name = bits_name(figures)
        for key, text, prefix in ((name, "all text", ""), (f"{name}{CLEAN}", "not copied from training", "clean_")):
            if key not in figures:
                continue
            interval = figures.get(f"{prefix}interval")
            lines.append(
                HeldOutLine(
                    split=split,
                    is_clean=key != name,
                    label=f"{spoken(name)}, {text}",
                    value=figures[key],
                    interval=f"{interval[0]:.3f}–{interval[1]:.3f}" if interval else TOO_FEW,
                    documents=figures.get(f"{prefix}documents", 0),
                    left_out=figures.get("left_out", 0),
                )
            )
    return lines


class BaseLine(NamedTuple):
    """A figure as a sentence, such as the base model that a family's training began with, beside what became of it."""

    label: str  # data/base/smollm2 before
    text: str  # 1.122, so -0.041 (-0.052 to -0.030)


def base_line(evaluation: Mapping[str, Any]) -> BaseLine | None:
    """Return how the base model did on the test split's clean text; None where training began from scratch."""
    before = evaluation.get("test", {}).get("before")
    if not before:
        return None
    interval = f"{before['interval'][0]:+.3f} to {before['interval'][1]:+.3f}" if before["interval"] else TOO_FEW
    bits = next(before[traits.clean_bits] for traits in TRAITS.values() if traits.clean_bits in before)
    return BaseLine(f"{before['base']} before", f"{bits:.3f}, so {before['difference']:+.3f} ({interval})")


def risk_lines(evaluation: Mapping[str, Any]) -> list[BaseLine]:
    """Return what training made the base model forget, and what leaves the house in what the model says by itself."""
    lines = []
    if general := evaluation.get("general_text"):
        change = _percent(general["change"], general["interval"], "+.1%")
        lines.append(BaseLine("loss on general text beside the base's", f"{change} on {general['texts']:,} texts"))
        if replies := general.get("replies"):
            change = _percent(replies["change"], replies["interval"], "+.1%")
            lines.append(BaseLine("loss on the base's own replies", f"{change} on {replies['texts']:,} replies"))
    if leaks := evaluation.get("leaks"):
        copied = _percent(leaks["copied_runs"], leaks["copied_runs_interval"], ".2%")
        personal = _percent(leaks["personal_data"], leaks["personal_data_interval"], ".2%")
        lines.append(BaseLine("training text in what it says", f"{copied} of {leaks['runs']:,} runs of 13 words"))
        lines.append(BaseLine("personal data in what it says", f"{personal} of {leaks['texts']:,} texts"))
    return lines


def _percent(share: float, interval: Sequence[float] | None, form: str) -> str:
    """Return "1.2% (0.3% to 2.1%)"."""
    ends = f"{interval[0]:{form}} to {interval[1]:{form}}" if interval else TOO_FEW
    return f"{share:{form}} ({ends})"
