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
    """{kind: slice} of a document by where it came from and its bytes of text: what `evaluate` and `pack` must agree on."""
    folder, slash, _ = source.partition("/")
    return {
        "length": next((name for end, name in LENGTHS if size < end), LONGEST),
        "source": folder if slash else ".",  # the first folder of its path
    }


def weak_spots_of(reports: Path) -> Spots:
    """Return the content of data/promoted/weak_spots.json for the promotion of a build with these `reports`."""
    weak_spots = {}
    for path in [*sorted((reports / "evaluate").glob("*.json")), *reports.glob("feedback.json")]:
        spots = json.loads(path.read_text("utf-8")).get("weak_spots")
        if spots:
            weak_spots[path.stem] = spots
    return weak_spots


def read_weights(path: Path, limit: float) -> Weights:
    """The weights, at most `limit`, that the weak spots in the file `path` give to documents.

    Raises UserError for a file that `promote` did not write.
    """
    weights: Weights = {}
    try:
        for spots in json.loads(path.read_text("utf-8")).values():
            for spot in spots:
                kind, name = spot["kind"], spot["slice"]
                if kind in slices_of("", 0) and (weight := round(min(limit, float(spot["ratio"])), 4)) > 1:
                    of_kind = weights.setdefault(kind, {})
                    of_kind[name] = max(weight, of_kind.get(name, weight))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} does not hold weak spots by family ({type(error).__name__}: {error}): restore it with `git checkout {path}`, or "
            "write `{}` into it, which means that there are none."
        ) from error
    return weights


def copies_of(weights: Weights, ids: Sequence[str], sources: Sequence[str], sizes: Sequence[int]) -> np.ndarray:
    """How often each document is packed: int64, >= 1. A weight of 2.3 is twice, and thrice for 30 % of the ids."""
    copies = np.ones(len(ids), np.int64)
    for i, (identifier, source, size) in enumerate(zip(ids, sources, sizes, strict=True)) if weights else ():
        weight = max(weights.get(kind, {}).get(name, 1.0) for kind, name in slices_of(source, size).items())
        copies[i] = int(weight) + (unit_interval("mixture", identifier) < weight % 1)
    return copies


def order_of(copies: np.ndarray) -> np.ndarray:
    """In which order documents are packed (int64): all once, then those that come twice, and so on, so that copies lie far apart."""
    return np.concatenate([np.flatnonzero(copies > turn) for turn in range(max(1, copies.max(initial=0)))])
