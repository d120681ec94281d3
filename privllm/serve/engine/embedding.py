"""The engine of embeddings: vectors of texts, by an encoder in this process; it writes nothing.

One thread owns the model. The texts of a request go through it in batches of like length, so that
requests take turns, and one whose client has left goes no further. Texts in a batch are padded to
the longest, and padding is masked: a text's vector is the one it has alone, up to rounding, which
is checked before the model serves.

Shapes: N texts, B texts of a batch, T tokens, D width.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from privllm.core.errors import UserError
from privllm.core.out_of_memory import shortage_explained
from privllm.serve.engine.base import (
    CANNOT_BATCH,
    Done,
    GenerationRequest,
    RequestRefused,
    ServedModel,
    Text,
    TextInput,
)
from privllm.serve.engine.embedding_folder import EmbeddingFolder, open_embedding_folder

BATCH = 32  # texts at once
BATCH_TOKENS = 16_384  # padding included, of several texts; a single one may have more
QUEUE = 64  # requests that may wait
RETRY_AFTER = 2.0  # seconds
TOLERANCE = 1e-3  # of the distance of a vector in a batch from that alone, as a share of its length
HALF_TOLERANCE = 5e-2  # likewise, in half precision
PROBES = ("A", "the page keeps its rows, and every row its page", "two words " * 9)
log = logging.getLogger(__name__)


class EmbeddingEngine:
    """A model that reads texts, and gives each a vector."""

    def __init__(self, opened: EmbeddingFolder, batch: int = BATCH, queue: int = QUEUE) -> None:
        self._opened = opened
        self._batch = batch
        self._max_requests = batch + queue
        self._open_requests = 0  # read and written by the event loop only
        self._vocabulary = opened.model.config.get_text_config().vocab_size
        self._thread = ThreadPoolExecutor(1, "model")
        self._closed = False
        dimensions = self._require_batching()
        self.served = ServedModel(opened.name, None, opened.context, dimensions)

    @classmethod
    @shortage_explained("Serve a smaller model, or fewer texts at once (`--batch`), or close other programs")
    def open(cls, folder: Path, revision: str = "", batch: int = BATCH, queue: int = QUEUE) -> "EmbeddingEngine":
        """Open the model in `folder`. Raises UserError where it gives no embeddings."""
        return cls(open_embedding_folder(folder, revision), batch, queue)

    async def start(self) -> None:
        """Do nothing: the thread starts with the first text."""

    def end_replies(self) -> None:
        """Do nothing: there are none."""

    async def close(self) -> None:
        self._closed = True
        await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=True)

    async def healthy(self) -> bool:
        return not self._closed

    async def encode(self, request: GenerationRequest) -> list[int]:
        if request.messages is not None:
            raise self._writes_nothing()
        return await asyncio.to_thread(self._opened.texts.encode, request.text)

    async def decode(self, ids: Sequence[int]) -> str:
        self._require_known(ids, "tokens")
        return await asyncio.to_thread(self._opened.texts.decode, ids)

    async def count_tokens(self, request: GenerationRequest) -> int:
        raise self._writes_nothing()

    async def stream(self, request: GenerationRequest) -> AsyncIterator[Text | Done]:
        raise self._writes_nothing()
        yield  # what makes this an iterator

    def _writes_nothing(self) -> RequestRefused:
        message = (
            f"the model `{self.served.model.name}` reads texts for /v1/embeddings and writes none: "
            "`privllm serve data/export/causal` serves one that does."
        )
        return RequestRefused(400, message, "model", code="unsupported_model")

    async def encode_inputs(self, inputs: Sequence[TextInput]) -> list[list[int]]:
        """Return the tokens of each text. Raises RequestRefused (400) for one that is empty or too long."""
        return await asyncio.to_thread(self._encode_inputs, inputs)

    def _encode_inputs(self, inputs: Sequence[TextInput]) -> list[list[int]]:
        encoded = []
        for index, given in enumerate(inputs):
            place = f"input[{index}]" if len(inputs) > 1 else "input"
            if not isinstance(given, str):
                self._require_known(given, place)
            ids = self._opened.texts.encode(given) if isinstance(given, str) else list(given)
            if not any(self._is_text(token) for token in ids):
                raise RequestRefused(400, f"`{place}`: holds no text.", place, code="invalid_value")
            if len(ids) > self._opened.context:
                limit = f"{len(ids)} tokens, and this model sees {self._opened.context} at once"
                message = f"`{place}` has {limit}: cut it into parts."
                raise RequestRefused(400, message, place, code="context_length_exceeded")
            encoded.append(ids)
        return encoded

    def _require_known(self, ids: Sequence[int], param: str) -> None:
        if ids and not 0 <= min(ids) <= max(ids) < self._vocabulary:
            message = f"a token of this model is one of 0 to {self._vocabulary - 1}."
            raise RequestRefused(400, message, param, code="invalid_value")

    def _is_text(self, token: int) -> bool:
        return token not in self._opened.texts.special

    async def embed(self, texts: Sequence[Sequence[int]]) -> np.ndarray:
        """Return vectors [N, D], in fp32, of texts that `encode_inputs` returned."""
        if self._open_requests >= self._max_requests:
            message = "too many texts are being read: try again shortly."
            raise RequestRefused(429, message, retry_after=RETRY_AFTER)
        self._open_requests += 1
        loop = asyncio.get_running_loop()
        vectors_ND = np.zeros((len(texts), self.served.dimensions or 0), np.float32)
        try:
            for batch in self._batches(texts):
                ids = [texts[index] for index in batch]
                vectors_ND[batch] = await loop.run_in_executor(self._thread, self._embed, ids)
        except Exception as error:  # most likely out of memory; the next request has a fresh start
            log.exception("the model failed")
            raise RequestRefused(500, "the model failed; the server's log says why.") from error
        finally:
            self._open_requests -= 1
        return vectors_ND

    def _batches(self, texts: Sequence[Sequence[int]]) -> list[list[int]]:
        """Return indices of texts in batches of like length, the shortest first."""
        batches: list[list[int]] = [[]]
        for index in sorted(range(len(texts)), key=lambda index: len(texts[index])):
            padded = len(texts[index]) * (len(batches[-1]) + 1)
            if batches[-1] and (len(batches[-1]) == self._batch or padded > BATCH_TOKENS):
                batches.append([])
            batches[-1].append(index)
        return batches

    @torch.inference_mode()
    def _embed(self, texts: Sequence[Sequence[int]]) -> np.ndarray:
        """Return vectors [B, D] of one batch."""
        model, own = self._opened.model, self._opened.texts
        longest = max(map(len, texts))
        ids_BT = torch.tensor([[*ids, *[own.pad] * (longest - len(ids))] for ids in texts])
        lengths_B = torch.tensor([len(ids) for ids in texts])
        real_BT = torch.arange(longest) < lengths_B[:, None]
        counted_BT = real_BT
        if not self._opened.pooling.with_special:
            counted_BT = real_BT & ~torch.isin(ids_BT, torch.tensor(sorted(own.special)))
        hidden_BTD = model(input_ids=ids_BT.to(model.device), attention_mask=real_BT.to(model.device)).last_hidden_state
        return self._opened.pooling.pool(hidden_BTD, counted_BT.to(model.device)).cpu().numpy()

    def _require_batching(self) -> int:
        """Return how many numbers a vector has. Raises UserError unless texts have the same vectors together as alone."""
        texts = [self._opened.texts.encode(text) for text in PROBES]
        texts = [ids[: self._opened.context] for ids in texts]
        try:
            together_ND = self._embed(texts)
            alone_ND = np.concatenate([self._embed([ids]) for ids in texts])
        except CANNOT_BATCH as error:
            raise UserError(f"this kind of model gives no embeddings here ({error}).") from error
        distance_N = np.linalg.norm(together_ND - alone_ND, axis=1) / np.linalg.norm(alone_ND, axis=1)
        worst = float(distance_N.max())
        tolerance = TOLERANCE if self._opened.model.dtype == torch.float32 else HALF_TOLERANCE
        if not worst < tolerance:  # also where it is nan
            raise UserError(f"in a batch this model gives other embeddings (off by {worst:.3f}), so it is not served.")
        return alone_ND.shape[1]
