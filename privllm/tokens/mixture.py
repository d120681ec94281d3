"""Which training documents are packed more than once: those that are like the held-out documents on which the last model was weak.

    data/promoted/weak_spots.json    {FAMILY: [SPOT, ...], "feedback": [...]}, `{}` before the first promotion
    SPOT                             what `evaluate` and `feedback` report: {"kind": "source", "slice": "mail", "ratio": 1.3, ...}

A document of a weak source, or of a weak length, weighs `ratio`: how many times the bits per byte of the rest it costs. Where it lies in
several weak spots, of any family, the largest counts, for all families read the same rows. Parts of speech, entities and topics of feedback
are properties of tokens or of questions, which repeating documents cannot single out, so they weigh nothing here. No model is looked at and
nothing is drawn: whether a document of weight 1.3 is among the 30 % that come twice, a hash of its id says, so a larger weight repeats the
same documents and more.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from privllm.core.errors import UserError
from privllm.core.seed import unit_interval

LENGTHS = (
    (1 << 10, "0-1 kB"),
    (4 << 10, "1-4 kB"),
    (16 << 10, "4-16 kB"),
    (64 << 10, "16-64 kB"),
)  # UTF-8 bytes, upper ends
LONGEST = "64 kB-"
Spots = dict[str, list[dict[str, Any]]]
Weights = dict[str, dict[str, float]]  # {kind: {slice: weight above 1}}, those of documents only


def slices_of(source: str, size: int) -> dict[str, str]:
    """Return {kind: slice} of a document by its source and its bytes of text, the same for `evaluate` and `pack`."""
    first_folder, slash, _ = source.partition("/")
    return {"length": _length_of(size), "source": first_folder if slash else "."}


def _length_of(size: int) -> str:
    for end, name in LENGTHS:
        if size < end:
            return name
    return LONGEST


def weak_spots_of(reports: Path) -> Spots:
    """Return the content of data/promoted/weak_spots.json for the promotion of a build with these `reports`."""
    weak_spots = {}
    for path in [*sorted((reports / "evaluate").glob("*.json")), *reports.glob("feedback.json")]:
        spots = json.loads(path.read_text("utf-8")).get("weak_spots")
        if spots:
            weak_spots[path.stem] = spots
    return weak_spots


def read_weights(path: Path, limit: float) -> Weights:
    """Return the weights, at most `limit`, that the weak spots in the file `path` give to documents.

    Raises UserError for a file that `promote` did not write.
    """
    weights: Weights = {}
    kinds_of_documents = slices_of("", 0).keys()
    try:
        for spots in json.loads(path.read_text("utf-8")).values():
            for spot in spots:
                kind, name = spot["kind"], spot["slice"]
                if kind not in kinds_of_documents:
                    continue
                weight = round(min(limit, float(spot["ratio"])), 4)
                if weight > 1:
                    weight_of_slice = weights.setdefault(kind, {})
                    weight_of_slice[name] = max(weight, weight_of_slice.get(name, weight))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} does not hold weak spots by family ({type(error).__name__}: {error}): restore it with `git checkout {path}`, or "
            "write `{}` into it, which means that there are none."
        ) from error
    return weights


def copies_of(weights: Weights, ids: Sequence[str], sources: Sequence[str], sizes: Sequence[int]) -> np.ndarray:
    """Return how often each document is packed, int64 >= 1.

    A weight of 2.3 is twice, and thrice for 30 % of the ids.
    """
    copies = np.ones(len(ids), np.int64)
    if not weights:
        return copies
    for i, (identifier, source, size) in enumerate(zip(ids, sources, sizes, strict=True)):
        weight = _weight_of(weights, source, size)
        has_one_more = unit_interval("mixture", identifier) < weight % 1
        copies[i] = int(weight) + has_one_more
    return copies


def _weight_of(weights: Weights, source: str, size: int) -> float:
    """Return the largest weight of the slices that a document lies in, 1 where none has one."""
    largest = 1.0
    for kind, name in slices_of(source, size).items():
        largest = max(largest, weights.get(kind, {}).get(name, 1.0))
    return largest


def rounds_of(copies: np.ndarray) -> list[np.ndarray]:
    """Return the indices of documents that are packed together (int64, ascending), round by round; one at least.

    All come once, then those that come twice, and so on, so that copies lie far apart.
    """
    most_copies = max(1, copies.max(initial=0))
    return [np.flatnonzero(copies > copies_before) for copies_before in range(most_copies)]
