"""What a model's held-out figure is compared with: compressors and a 5-gram model, of the same documents (`evaluate.baselines`)."""

from collections.abc import Mapping, Sequence
from typing import Any

XZ = "xz -9e"
BITS, CLEAN = "bits_per_byte", "bits_per_byte_clean"
Row = tuple[str, list[float | None]]


def baseline_rows(evaluations: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return the table's rows, (label, bits per byte of each family's documents), in the order of the first report with any."""
    baselines = [evaluation.get("baselines", {}) for evaluation in evaluations]
    rows: list[Row] = []
    for key, label in ((BITS, "{}"), (CLEAN, "{}, not copied from training")):
        names = {name: None for figures in baselines for name in figures.get(key, {})}
        for name in names:
            rows.append((label.format(name), [figures.get(key, {}).get(name) for figures in baselines]))
    return rows


def learnt_text(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """Return how much text the 5-gram model learnt from, "" where there is none: "1.2 MB of training text"."""
    sizes = [
        evaluation["baselines"]["training_bytes"]
        for evaluation in evaluations
        if evaluation.get("baselines", {}).get(BITS)
    ]
    return f"{max(sizes) / 1e6:.1f} MB of training text" if sizes else ""


def worse_than_xz(family: str, evaluation: Mapping[str, Any]) -> str:
    """Return a sentence for a model that needs more bits per byte of the test documents than xz; "" for others.

    Figures of families that give no text a probability have other names, and are not compared.
    """
    own = evaluation.get("test", evaluation).get(BITS)
    of_xz = evaluation.get("baselines", {}).get(BITS, {}).get(XZ)
    if own is None or of_xz is None or own <= of_xz:
        return ""
    return (
        f"{family} needs {own:.3f} bits per byte, more than {XZ} for the same documents ({of_xz:.3f}): it has learnt less than what "
        f"repeats within them. Train longer or on more text, or let `base` name a model below data/base."
    )
