"""The kept vocabulary: one that the tokenizer no longer learns anew when a document of its sample is edited.

    data/vocabulary/kept/tokenizer.json       as it was learnt
    data/vocabulary/kept/vocabulary.json      {"settings": {...}, "bytes_per_token": 4.1}, what it was learnt with and on
    data/vocabulary/kept/documents.parquet    SAMPLED, the documents of its sample

`privllm promote` and `privllm vocabulary keep` write it, the stage `tokenizer` uses it as long as `tokenizer` and `sample`
in params.yaml are those it was learnt with, and `privllm forget` removes it with a document of its sample.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from privllm.core.errors import UserError
from privllm.core.tables import read_table
from privllm.tokens.encode import Encoder
from privllm.tokens.vocabulary_sample import SampleConfig

VOCABULARY = Path("data/vocabulary")  # kept in git by a .gitignore
KEPT = "kept"
TOKENIZER, NOTE, DOCUMENTS = "tokenizer.json", "vocabulary.json", "documents.parquet"
SAMPLED = pa.schema([("id", pa.string()), ("digest", pa.string())])  # digest: of the normalised text (`dedup.exact`)
FEW_BYTES = 10_000  # of new documents, about which nothing is said
LEAST_FIT = 0.9  # of the bytes per token that it was learnt on, below which it fits new documents badly


class Kept(NamedTuple):
    """A kept vocabulary that the parameters ask for."""

    tokenizer: Path
    documents: Path
    bytes_per_token: float  # on the sample that it was learnt on


def settings_of(tokenizer: Any, sample: SampleConfig) -> dict[str, Any]:
    """Return what a vocabulary is learnt with, as JSON values, from the sections of params.yaml."""
    return {"tokenizer": asdict(tokenizer), "sample": asdict(sample)}


def kept_for(folder: Path, settings: dict[str, Any]) -> Kept | None:
    """Return the vocabulary kept in data/vocabulary; None if there is none that was learnt with these settings.

    Raises UserError where it is in git, but was not fetched.
    """
    kept = folder / KEPT
    if not (kept / NOTE).is_file():
        if (folder / f"{KEPT}.dvc").is_file():
            raise UserError(
                f"{kept} is not there, though {kept}.dvc is: run `dvc pull`, or `dvc checkout` where it was fetched before; "
                "`privllm vocabulary drop` has the vocabulary learnt anew."
            )
        return None
    note = json.loads((kept / NOTE).read_text("utf-8"))
    if note["settings"] != settings:
        return None
    return Kept(kept / TOKENIZER, kept / DOCUMENTS, float(note["bytes_per_token"]))


def fit(kept: Kept, encoder: Encoder, ids: list[str], texts: list[str]) -> dict[str, Any]:
    """Return how well the vocabulary fits those texts of today's sample that it was not learnt on."""
    learnt_on = set(read_table(kept.documents, ["id"])["id"].to_pylist())
    new_texts = [text for identifier, text in zip(ids, texts, strict=True) if identifier not in learnt_on]
    new_bytes = sum(len(text.encode()) for text in new_texts)
    new_tokens = sum(len(tokens) for tokens in encoder.encode(new_texts)) if new_texts else 0
    bytes_per_token = new_bytes / max(1, new_tokens)
    return {
        "learnt_bytes_per_token": kept.bytes_per_token,
        "new_documents": len(new_texts),
        "new_bytes": new_bytes,
        "new_bytes_per_token": round(bytes_per_token, 4),
        "fits": new_bytes < FEW_BYTES or bytes_per_token >= LEAST_FIT * kept.bytes_per_token,
    }
