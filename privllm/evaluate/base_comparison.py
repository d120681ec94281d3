"""How much better a trained model predicts held-out documents than the base model that its training began with.

Both are scored on the clean text of the same documents (`held_out`), so what makes a document hard cancels out of the
difference. A model that was trained from scratch has no base, and the incumbent is compared by the gate.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from privllm.core.base_model import BASE
from privllm.core.families import TRAITS
from privllm.core.special_tokens import SpecialIds
from privllm.evaluate.scoring import ScoredDocument, score_streams
from privllm.evaluate.slices import AnnotatedDocument
from privllm.evaluate.windows import stream_of
from privllm.models.base_weights import load_base, note_of
from privllm.models.devices import place
from privllm.stats.difference import difference
from privllm.stats.scores import Score


def compare_with_base(
    family: str,
    start: Path,
    special: SpecialIds,
    documents: Sequence[AnnotatedDocument],
    scored: Mapping[str, ScoredDocument],
    batch_rows: int,
) -> dict[str, Any]:
    """Return the base model's bits per byte on these documents, the difference to the trained model's, and its interval.

    `start` is data/start/<family>; `scored` are the trained model's scores by document. Returns {} where training did not
    begin with a base model, or nothing held out is clean.
    """
    base = note_of(start)["start"]
    if not BASE.fullmatch(base):
        return {}
    model = place(load_base(family, start, special))
    streams = {document.id: stream_of(document.tokens[:-1], special) for document in documents}
    base_scores = score_streams(family, model, special, streams, batch_rows)
    before = {document.id: document for document in base_scores}
    by_document = {document.id: document for document in documents}
    clean = [identifier for identifier, document in by_document.items() if _clean_bytes(document, scored[identifier])]
    if not clean:
        return {}
    scores = []
    for of_model in (before, scored):
        bits = np.array([_clean_bits(by_document[identifier], of_model[identifier]) for identifier in clean])
        sizes = np.array([_clean_bytes(by_document[identifier], of_model[identifier]) for identifier in clean], float)
        scores.append(Score(bits, sizes))
    measured = difference(scores[0], scores[1], clean)
    return {
        "base": base,
        TRAITS[family].clean_bits: measured.a,
        "difference": measured.difference,
        "interval": list(measured.interval) if measured.interval else None,
        "documents": len(clean),
    }


def _clean_bytes(document: AnnotatedDocument, scores: ScoredDocument) -> int:
    """Return the bytes of the scored tokens that were not copied from training."""
    return int(document.sizes[scores.places][document.clean[scores.places]].sum())


def _clean_bits(document: AnnotatedDocument, scores: ScoredDocument) -> float:
    return float(scores.nats[document.clean[scores.places]].sum()) / math.log(2)
