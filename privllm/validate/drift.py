"""Drift of the corpus since the promoted build.

A summary of the corpus (`out/statistics.json`) is small, holds counts only, and becomes `data/promoted/statistics.json`
when a build is promoted. Two summaries are compared by the Population Stability Index over the same bins, with the
usual reading: below 0.1 the same, 0.1 to 0.25 a shift, above 0.25 another population (Siddiqi, Credit Risk Scorecards,
2006). It compares distributions, not documents: a corpus whose every text was swapped for one of equal length passes.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pyarrow as pa

from privllm.core.errors import UserError
from privllm.core.params import require
from privllm.validate.statistics import counts_of

# Lower edges of the bins; a value below the first edge falls into the first bin.
EDGES: dict[str, list[float]] = {
    "characters": [0, *(2**power for power in range(6, 23))],
    "placeholder_density": [0, 1e-9, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2],
    "unique_words": [tenth / 10 for tenth in range(10)],
}
MIXES = {"language": "languages", "folder": "folders"}
MEASURES = (*EDGES, *MIXES)
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MAX_FOLDERS = 50
OTHER = "(other)"
MAX_BYTES = 1 << 20


@dataclass
class DriftConfig:
    warn: float = 0.1  # PSI, > 0: above it the report warns
    stop: float = 0.25  # PSI, >= warn: above it the build stops

    def __post_init__(self) -> None:
        require(0 < self.warn <= self.stop, "validate.drift", "0 < warn <= stop")


def summarise(documents: pa.Table) -> dict[str, Any]:
    """Return counts per bin, quantiles for people, and the mix of languages and of top folders of one corpus."""
    histograms, quantiles_of = {}, {}
    for name, edges in EDGES.items():
        values = documents[name].to_pylist()
        histograms[name] = {"edges": edges, "counts": histogram(values, edges)}
        quantiles_of[name] = quantiles(values)
    return {
        "documents": len(documents),
        "histograms": histograms,
        "quantiles": quantiles_of,
        "languages": counts_of(documents["language"]),
        "folders": _largest(counts_of(documents["folder"])),
    }


def _largest(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of the MAX_FOLDERS largest, and under OTHER the sum of the rest."""
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    largest = dict(ranked[:MAX_FOLDERS])
    other_count = sum(count for _, count in ranked[MAX_FOLDERS:])
    if other_count:
        largest[OTHER] = other_count
    return largest


def histogram(values: list[float], edges: list[float]) -> list[int]:
    """Return how many values lie in each bin."""
    counts = [0] * len(edges)
    for value in values:
        bin_number = max(0, bisect_right(edges, value) - 1)
        counts[bin_number] += 1
    return counts


def quantiles(values: list[float]) -> dict[str, float]:
    """Return nearest-rank quantiles, to four digits."""
    ordered = sorted(values)
    result = {}
    for share in QUANTILES:
        rank = math.ceil(share * len(ordered))
        result[f"{share:g}"] = float(f"{ordered[rank - 1]:.4g}")
    return result


def read_promoted(path: Path) -> dict[str, Any]:
    """Return the promoted build's summary, {} if there is none yet. Raises UserError for anything else."""
    remedy = "promote a build again, or write `{}` into it to start afresh."
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} is missing or larger than {MAX_BYTES} bytes; {remedy}")
    try:
        summary = json.loads(path.read_text("utf-8"))
        if summary:
            _check(summary)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no summary of a corpus ({type(error).__name__}: {error}); {remedy}") from error
    return summary


def _check(summary: Mapping[str, Any]) -> None:
    """Raise an error unless the summary has our bins and whole counts."""
    counts = [summary["documents"]]
    for mix in MIXES.values():
        counts += summary[mix].values()
    for name, edges in EDGES.items():
        stored = summary["histograms"][name]
        if stored["edges"] != edges or len(stored["counts"]) != len(edges):
            raise ValueError(f"the bins of `{name}` are others")
        counts += stored["counts"]
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise ValueError("a count is no whole number")


def bins(summary: Mapping[str, Any], promoted: Mapping[str, Any], measure: str) -> list[tuple[int, int]]:
    """Return pairs of counts of the two summaries, bin by bin, without the bins that are empty in both."""
    if measure in EDGES:
        histograms = [side["histograms"][measure]["counts"] for side in (summary, promoted)]
        pairs = list(zip(*histograms, strict=True))
    else:
        pairs = _pair_up(summary[MIXES[measure]], promoted[MIXES[measure]])
    return [pair for pair in pairs if any(pair)]


def _pair_up(ours: Mapping[str, int], theirs: Mapping[str, int]) -> list[tuple[int, int]]:
    """Return pairs of counts by name, and at the end one of all other names."""
    names = ours.keys() | theirs.keys()
    if OTHER in names:  # a name that one side does not list may be among its others
        names = ours.keys() & theirs.keys()
    pairs = [(ours.get(name, 0), theirs.get(name, 0)) for name in sorted(names - {OTHER})]
    our_others = sum(ours.values()) - sum(our_count for our_count, _ in pairs)
    their_others = sum(theirs.values()) - sum(their_count for _, their_count in pairs)
    return [*pairs, (our_others, their_others)]


def psi(pairs: list[tuple[int, int]]) -> float:
    """Return the Population Stability Index of two histograms: the sum of (p - q) ln(p / q), >= 0, 0 for equal shares.

    Half a document is added to every bin, so that an empty one does not make it infinite.
    """
    our_total = sum(our_count for our_count, _ in pairs) + len(pairs) / 2
    their_total = sum(their_count for _, their_count in pairs) + len(pairs) / 2
    total = 0.0
    for our_count, their_count in pairs:
        p = (our_count + 0.5) / our_total
        q = (their_count + 0.5) / their_total
        total += (p - q) * math.log(p / q)
    return total


def chance(pairs: list[tuple[int, int]]) -> float:
    """Return the PSI that two samples of one population stay below in 999 of 1,000 cases.

    PSI is about (1/n + 1/m) times a chi-squared variable with bins - 1 degrees of freedom (Yurdakul and Naranjo,
    Statistical properties of the population stability index, 2020); its quantile by Wilson and Hilferty (1931).
    """
    degrees = max(1, len(pairs) - 1)
    variance = 2 / (9 * degrees)
    cube_root = 1 - variance + NormalDist().inv_cdf(0.999) * math.sqrt(variance)
    our_size = max(1, sum(our_count for our_count, _ in pairs))
    their_size = max(1, sum(their_count for _, their_count in pairs))
    return degrees * cube_root**3 * (1 / our_size + 1 / their_size)


def drift(summary: Mapping[str, Any], promoted: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return {measure: {"psi", "chance"}} for `MEASURES`, to four decimals; {} when nothing is promoted."""
    if not promoted or not promoted["documents"]:
        return {}
    drifts = {}
    for measure in MEASURES:
        pairs = bins(summary, promoted, measure)
        drifts[measure] = {"psi": round(psi(pairs), 4), "chance": round(chance(pairs), 4)}
    return drifts
