"""Continuous batching: sequences join and leave between steps, with the replies they get alone.

A prompt is read in chunks of at most `PROMPT_CHUNK` tokens, one chunk a step, so that a long prompt
does not delay the other replies; then its keys and values become a row of the KV cache, and every
step adds one token to every row. A sequence longer than the context continues from its last half,
as in `models.generate`. Batching changes only rounding: sums may differ in their last bits, which
matters only where two tokens are equally likely to seven digits. It uses no threads and no web code
(see `local`).
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from privllm.core.errors import UserError
from privllm.serve.engine.base import Done, RequestRefused, SamplingSettings, Text
from privllm.serve.engine.detokenizer import Detokenizer
from privllm.serve.engine.kv_cache import KvCache
from privllm.serve.engine.prompting import PromptFormat
from privllm.serve.engine.sampling import sample_rows

PROMPT_CHUNK = 512  # tokens of prompts read per step
# Largest difference between logits alone and in a batch, as a share of the spread of a row's logits;
# half precision is that rough.
TOLERANCE = 2e-2
ATTENTION_KINDS = {"full_attention", "sliding_attention"}


@dataclass(eq=False)
class Job:
    """One reply being generated. `emit` receives events; `cancelled` ends it at the next step."""

    ids: list[int]  # prompt and reply so far
    settings: SamplingSettings
    emit: Callable[[Text | Done | RequestRefused], object]
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cancelled: bool = False
    detokenizer: Detokenizer | None = None
    generator: torch.Generator = field(default_factory=torch.Generator)
    unread_ids: list[int] = field(default_factory=list)  # of the prompt
    prompt_cache: DynamicCache | None = None  # of the tokens already read

    def emit_text(self, text: str) -> None:
        if text:
            self.emit(Text(text))


class Scheduler:
    """Up to `max_running` sequences decoded at once, and a queue of those that wait."""

    def __init__(self, model: PreTrainedModel, prompt_format: PromptFormat, max_running: int) -> None:
        self.model = model
        self.prompt_format = prompt_format
        self.max_running = max_running
        self.kv_cache = KvCache(model.device)
        self.running: list[Job] = []  # running[r] is row r of the KV cache
        self.waiting: deque[Job] = deque()
        self._windows = _attention_windows(model)

    def add(self, job: Job) -> None:
        job.prompt_tokens = len(job.ids)
        job.detokenizer = Detokenizer(self.prompt_format.decode, job.settings.stop)
        job.generator.manual_seed(job.settings.seed)
        job.unread_ids = job.ids[-self.prompt_format.context :]
        job.prompt_cache = DynamicCache()
        self.waiting.append(job)

    @property
    def idle(self) -> bool:
        return not self.running and not self.waiting

    def clear(self) -> list[Job]:
        """Drop all sequences, and return their jobs."""
        dropped = [*self.running, *self.waiting]
        self.running, self.kv_cache = [], KvCache(self.model.device)
        self.waiting.clear()
        return dropped

    @torch.inference_mode()
    def step(self) -> None:
        """Add one token to every row, then read a chunk of a waiting prompt."""
        self._drop_cancelled()
        self._requeue_full_rows()
        self._decode()
        self._read_prompts()

    def _drop_cancelled(self) -> None:
        if any(job.cancelled for job in self.waiting):
            self.waiting = deque(job for job in self.waiting if not job.cancelled)
        self._drop_rows([row for row, job in enumerate(self.running) if job.cancelled])

    def _requeue_full_rows(self) -> None:
        """Let sequences that fill the context wait again, with its last half as their prompt."""
        context = self.prompt_format.context
        full_rows = [row for row, length in enumerate(self.kv_cache.lengths) if length + 1 > context]
        for row in reversed(full_rows):
            job = self.running[row]
            self._drop_rows([row])
            job.unread_ids = job.ids[-max(1, context // 2) :]
            job.prompt_cache = DynamicCache()
            self.waiting.appendleft(job)

    def _read_prompts(self) -> None:
        """Read up to PROMPT_CHUNK tokens of waiting prompts; a complete prompt starts its reply."""
        budget = PROMPT_CHUNK
        while budget > 0 and self.waiting and len(self.running) < self.max_running:
            job = self.waiting[0]
            chunk, job.unread_ids = job.unread_ids[:budget], job.unread_ids[budget:]
            budget -= len(chunk)
            input_ids = torch.tensor([chunk], device=self.model.device)
            output = self.model(input_ids=input_ids, past_key_values=job.prompt_cache, use_cache=True, logits_to_keep=1)
            if job.unread_ids:
                return
            prompt_cache, job.prompt_cache = job.prompt_cache, None
            assert prompt_cache is not None
            (token,) = self._sample(output.logits[:, -1], [job])
            if self._append(job, token):
                self.kv_cache.add(prompt_cache)
                self.running.append(job)
            self.waiting.popleft()  # last: if a line above fails, the job is still among those that `clear` returns

    def _decode(self) -> None:
        """Add one token to every row."""
        if not self.running:
            return
        logits_RV = self.next_logits([job.ids[-1] for job in self.running])
        tokens = self._sample(logits_RV, self.running)
        continues = [self._append(job, token) for job, token in zip(self.running, tokens, strict=True)]
        self._drop_rows([row for row, goes_on in enumerate(continues) if not goes_on])

    def next_logits(self, last_ids: Sequence[int]) -> Tensor:
        """Return logits [R, V] after `last_ids`, one per row, and add these to the KV cache."""
        positions_R1, keys_1S = self.kv_cache.begin_step()
        output = self.model(
            input_ids=torch.tensor([[token] for token in last_ids], device=self.model.device),
            attention_mask=self._mask(positions_R1, keys_1S),
            position_ids=positions_R1,
            past_key_values=self.kv_cache,
            use_cache=True,
        )
        self.kv_cache.end_step()
        return output.logits[:, -1]

    def _sample(self, logits_RV: Tensor, jobs: Sequence[Job]) -> list[int]:
        settings = [job.settings for job in jobs]
        generators = [job.generator for job in jobs]
        return sample_rows(logits_RV, settings, generators, self.prompt_format.banned_ids)

    def _mask(self, positions_R1: Tensor, keys_1S: Tensor) -> Any:
        """Return the attention mask [R, 1, 1, S], True where a key is attended to.

        A model that mixes kinds of attention gets {kind: mask}.
        """
        masks = {}
        for kind, window in self._windows.items():
            visible_RS = keys_1S <= positions_R1
            if window:
                visible_RS &= keys_1S > positions_R1 - window
            masks[kind] = visible_RS[:, None, None]
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _drop_rows(self, rows: Sequence[int]) -> None:
        """Remove `rows`, in ascending order; each time the last row takes the free place."""
        for row in reversed(rows):
            self.kv_cache.remove(row)
            last = self.running.pop()
            if row < len(self.running):
                self.running[row] = last

    def _append(self, job: Job, token: int) -> bool:
        """Append `token` to the reply and emit its text; return False if it ends the reply."""
        detokenizer = job.detokenizer
        assert detokenizer is not None
        ended = token in self.prompt_format.end_ids
        if not ended:
            job.ids.append(token)
            job.completion_tokens += 1
            job.emit_text(detokenizer.add(token))
        stopped = ended or detokenizer.stopped
        if not stopped and job.completion_tokens < job.settings.max_tokens:
            return True
        job.emit_text(detokenizer.flush())
        reason = "stop" if ended or detokenizer.stopped else "length"
        job.emit(Done(reason, job.prompt_tokens, job.completion_tokens))
        return False


def _attention_windows(model: PreTrainedModel) -> dict[str, int]:
    """Return {kind of attention: window, 0 for none} over the model's layers.

    Raises UserError for kinds of layers whose state is not a list of keys.
    """
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None) or 0
    default_kind = "sliding_attention" if window else "full_attention"
    kinds = set(getattr(config, "layer_types", None) or [default_kind])
    unsupported = kinds - ATTENTION_KINDS
    if unsupported:
        names = ", ".join(sorted(unsupported))
        raise UserError(f"layers of {names} cannot be batched here: put this model's own server behind --engine.")
    return {kind: window if kind == "sliding_attention" else 0 for kind in sorted(kinds)}


@torch.inference_mode()
def require_batching(model: PreTrainedModel, prompt_format: PromptFormat) -> None:
    """Raise UserError unless texts of different lengths get the same logits together as alone.

    Any causal model may be served, so one that reads masks or positions differently must be found
    before it serves.
    """
    texts = _probe_texts(model.config.get_text_config().vocab_size)
    scheduler = Scheduler(model, prompt_format, len(texts))
    try:
        for ids in texts:
            prompt_cache = DynamicCache()
            input_ids = torch.tensor([ids[:-1]], device=model.device)
            model(input_ids=input_ids, past_key_values=prompt_cache, use_cache=True)
            scheduler.kv_cache.add(prompt_cache)
        batched_RV = scheduler.next_logits([ids[-1] for ids in texts])
        alone_RV = torch.cat([_last_logits(model, ids) for ids in texts])
    except (TypeError, ValueError, RuntimeError, AttributeError, NotImplementedError) as error:
        raise UserError(
            f"this kind of model cannot be batched here ({error}): put its own server behind --engine."
        ) from error
    difference_R = (batched_RV - alone_RV).abs().amax(1)
    spread_R = alone_RV.float().std(1).clamp_min(1e-6)
    worst = float((difference_R / spread_R).max())
    tolerance = TOLERANCE if alone_RV.dtype == torch.float32 else 10 * TOLERANCE
    if not worst < tolerance:  # also where it is nan
        raise UserError(
            f"in a batch this model gives other results (off by {worst:.3f}): put its own server behind --engine."
        )


def _probe_texts(vocabulary: int) -> list[list[int]]:
    """Return three lists of ids, of different lengths, above the ids of special tokens."""
    first_id = 20
    ids = max(1, vocabulary - first_id)
    return [[first_id + (i * 7 + 3 * length) % ids for i in range(length)] for length in (9, 2, 5)]


def _last_logits(model: PreTrainedModel, ids: list[int]) -> Tensor:
    """Return the logits [1, V] after `ids`, read at once and without a cache."""
    input_ids = torch.tensor([ids], device=model.device)
    return model(input_ids=input_ids, use_cache=False).logits[:, -1]
