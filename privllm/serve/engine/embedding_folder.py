"""Folders of models that give embeddings: the model, and the way from a text to its tokens.

`ExportedTexts` is for masked models that `export` wrote: a text stands between the marks that
documents have in training. `HuggingFaceTexts` is for any other encoder, those of
sentence-transformers included: its own tokenizer, local files only, safetensors only, and no code
from the folder. No text, whatever it contains, becomes a special token.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from privllm.core.errors import UserError
from privllm.core.families import MASKED
from privllm.engine.digests import digest_of
from privllm.feedback.records import Model
from privllm.models.devices import place
from privllm.models.loading import context_of, load
from privllm.serve.engine.pooling import Pooling, read_pooling
from privllm.serve.engine.prompting import LOCAL_ONLY
from privllm.serve.folders import require_model
from privllm.tokens.encode import Encoder
from privllm.tokens.special_ids import special_ids

CONTEXT = 512  # of a model that names none


class Texts(Protocol):
    """The tokenizer of one model, and what is text among its tokens."""

    special: frozenset[int]  # tokens that are no text
    pad: int

    def encode(self, text: str) -> list[int]:
        """Return the tokens that the model reads, with what it puts around a text."""
        ...

    def decode(self, ids: Sequence[int]) -> str: ...


class EmbeddingFolder(NamedTuple):
    """What an engine needs of a folder."""

    model: PreTrainedModel
    name: Model
    texts: Texts
    pooling: Pooling
    context: int  # tokens of one text, the special ones included


def open_embedding_folder(folder: Path, revision: str = "") -> EmbeddingFolder:
    """Return the model of `folder`, in eval mode, on a GPU if possible. Raises UserError where it cannot be opened."""
    require_model(folder)
    if (folder / "provenance.json").is_file():
        provenance = json.loads((folder / "provenance.json").read_text("utf-8"))
        model: Any = load(MASKED.name, folder).base_model
        name = Model(provenance["name"], revision, provenance["digests"]["model"])
        texts: Texts = ExportedTexts(folder)
        return EmbeddingFolder(place(model).eval(), name, texts, Pooling(), context_of(model.config))
    pooling = read_pooling(folder)
    try:
        model = AutoModel.from_pretrained(folder, use_safetensors=True, dtype="auto", **LOCAL_ONLY)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, **LOCAL_ONLY)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{folder} holds no encoder that transformers opens ({error}).") from error
    name = Model(folder.resolve().name, revision, digest_of(sorted(folder.glob("*.safetensors"))))
    context = min(_positions(model), tokenizer.model_max_length, pooling.max_tokens or CONTEXT**2)
    return EmbeddingFolder(place(model).eval(), name, HuggingFaceTexts(tokenizer, pooling), pooling, context)


def _positions(model: Any) -> int:
    """Return how many tokens the model has positions for; RoBERTa's kin leave out the first few."""
    positions = getattr(model.config, "max_position_embeddings", None) or CONTEXT
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    unused = getattr(table, "padding_idx", None)
    return positions if unused is None else positions - unused - 1


class ExportedTexts:
    """The tokenizer of a model that `export` wrote."""

    def __init__(self, folder: Path) -> None:
        special = special_ids(folder)
        self._encoder = Encoder.open(folder)
        self._begin, self._end = special.begin, special.end
        self.pad = special.pad
        # an unknown word is text, though its token is called special
        self.special = frozenset(set(special.special) - {self._encoder.unknown})

    def encode(self, text: str) -> list[int]:
        return [self._begin, *self._encoder.encode([text])[0].tolist(), self._end]

    def decode(self, ids: Sequence[int]) -> str:
        return self._encoder.decode(np.array(ids, np.int32))


class HuggingFaceTexts:
    """The tokenizer of any other model."""

    def __init__(self, tokenizer: Any, pooling: Pooling) -> None:
        self._tokenizer = tokenizer
        self._pooling = pooling
        self.pad = tokenizer.pad_token_id or 0
        # an unknown word is text, though its token is called special
        self.special = frozenset(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id})

    def encode(self, text: str) -> list[int]:
        text = self._pooling.prefix + text
        if self._pooling.lower_case:
            text = text.lower()
        return self._tokenizer(text, split_special_tokens=True, verbose=False)["input_ids"]

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
