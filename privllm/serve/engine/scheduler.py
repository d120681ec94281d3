"""Replies decoded together: sequences join and leave between two steps, each as if it were alone.

A prompt is read in parts of at most `PART` tokens, one part a step, so that a long one holds nobody up for long; then its keys and
values become a row of `slots`, and every step adds one token to every row. Past the context the last half of it is read anew, as
`models.generate` does. Rounding is the one thing neighbours touch: sums over a batch may differ in their last bits, which matters
only where two tokens are equally likely to seven digits. It knows no threads and no web (see `batched`).
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from privllm.core.errors import UserError
from privllm.serve.engine.base import Done, Refused, Settings, Text
from privllm.serve.engine.detokenizer import Spoken
from privllm.serve.engine.kv_cache import Slots
from privllm.serve.engine.prompting import Voice
from privllm.serve.engine.sampling import draw

PART = 512  # tokens of prompts read per step
TOLERANCE = 2e-2  # of the spread of a row's logits, between reading a text at once and in a batch; half precision is that rough


@dataclass(eq=False)
class Job:
    """One reply being made. `emit` gets its events; set `cancelled` and it ends at the next step."""

    ids: list[int]  # prompt and reply so far
    settings: Settings
    emit: Callable[[Text | Done | Refused], object]
    prompt_tokens: int = 0
    made: int = 0
    cancelled: bool = False
    spoken: Spoken | None = None
    generator: torch.Generator = field(default_factory=torch.Generator)
    unread: list[int] = field(default_factory=list)  # of the prompt
    cache: DynamicCache | None = None  # what was read of it


class Batch:
    """Up to `most` sequences at once, and those that wait."""

    def __init__(self, model: PreTrainedModel, voice: Voice, most: int) -> None:
        self.model, self.voice, self.most = model, voice, most
        self.slots = Slots(model.device)
        self.rows: list[Job] = []  # row r of the slots
        self.waiting: deque[Job] = deque()
        self._masks = _mask_kinds(model)

    def add(self, job: Job) -> None:
        job.prompt_tokens, job.spoken = len(job.ids), Spoken(self.voice.decode, job.settings.stop)
        job.generator.manual_seed(job.settings.seed)
        job.unread, job.cache = job.ids[-self.voice.context :], DynamicCache()
        self.waiting.append(job)

    @property
    def idle(self) -> bool:
        return not self.rows and not self.waiting

    def clear(self) -> list[Job]:
        """Forget everybody; returns who was there."""
        lost = [*self.rows, *self.waiting]
        self.rows, self.slots = [], Slots(self.model.device)
        self.waiting.clear()
        return lost

    @torch.inference_mode()
    def step(self) -> None:
        """Read a part of a prompt, if one waits, and add one token to every row."""
        if any(job.cancelled for job in self.waiting):
            self.waiting = deque(job for job in self.waiting if not job.cancelled)
        for row in reversed([row for row, job in enumerate(self.rows) if job.cancelled]):
            self._drop(row)
        for row in reversed([row for row, length in enumerate(self.slots.lengths) if length + 1 > self.voice.context]):
            job = self.rows[row]
            self._drop(row)
            job.unread, job.cache = job.ids[-max(1, self.voice.context // 2) :], DynamicCache()
            self.waiting.appendleft(job)
        self._decode()
        self._read()

    def _read(self) -> None:
        budget = PART
        while budget > 0 and self.waiting and len(self.rows) < self.most:
            job = self.waiting[0]
            part, job.unread = job.unread[:budget], job.unread[budget:]
            budget -= len(part)
            ids = torch.tensor([part], device=self.model.device)
            logits_1V = self.model(input_ids=ids, past_key_values=job.cache, use_cache=True, logits_to_keep=1).logits[:, -1]
            if job.unread:
                return
            read, job.cache = job.cache, None
            assert read is not None
            (token,) = draw(logits_1V, [job.settings], [job.generator], self.voice.never)
            if self._go_on(job, token):
                self.slots.add(read)
                self.rows.append(job)
            self.waiting.popleft()  # only now: whatever failed above is told to who is still there

    def _decode(self) -> None:
        if not self.rows:
            return
        positions_R1, keys_1S = self.slots.begin()
        last = torch.tensor([[job.ids[-1]] for job in self.rows], device=self.model.device)
        logits_RV = self.model(
            input_ids=last,
            attention_mask=self._mask(positions_R1, keys_1S),
            position_ids=positions_R1,
            past_key_values=self.slots,
            use_cache=True,
        ).logits[:, -1]
        self.slots.end()
        tokens = draw(logits_RV, [job.settings for job in self.rows], [job.generator for job in self.rows], self.voice.never)
        going = [self._go_on(job, token) for job, token in zip(self.rows, tokens, strict=True)]
        for row in reversed([row for row, goes in enumerate(going) if not goes]):
            self._drop(row)

    def _mask(self, positions_R1: Tensor, keys_1S: Tensor) -> Any:
        """True where a key is seen, [R, 1, 1, S]; one for each kind of layer where the model mixes them."""
        seen = {"full_attention": keys_1S <= positions_R1}
        if window := self._masks.get("sliding_attention"):
            seen["sliding_attention"] = seen["full_attention"] & (keys_1S > positions_R1 - window)
        masks = {kind: seen[kind][:, None, None] for kind in self._masks}
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _drop(self, row: int) -> None:
        self.slots.remove(row)
        last = self.rows.pop()
        if row < len(self.rows):
            self.rows[row] = last

    def _go_on(self, job: Job, token: int) -> bool:
        """Say `token`; False where the reply ends with it."""
        assert job.spoken is not None
        over = token in self.voice.ends
        if not over:
            job.ids.append(token)
            job.made += 1
            _say(job, job.spoken.add(token))
        if not (over or job.spoken.stopped or job.made == job.settings.max_tokens):
            return True
        _say(job, job.spoken.rest())
        reason = "stop" if over or job.spoken.stopped else "length"
        job.emit(Done(reason, job.prompt_tokens, job.made))
        return False


def _say(job: Job, text: str) -> None:
    if text:
        job.emit(Text(text))


def _mask_kinds(model: PreTrainedModel) -> dict[str, int]:
    """{kind of attention: window, 0 for none} of the model's layers. Raises UserError for kinds whose memory is no list of keys."""
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None) or 0
    kinds = set(getattr(config, "layer_types", None) or ["sliding_attention" if window else "full_attention"])
    if other := kinds - {"full_attention", "sliding_attention"}:
        raise UserError(f"layers of {', '.join(sorted(other))} cannot be batched here: put this model's own server behind --engine.")
    return {kind: window if kind == "sliding_attention" else 0 for kind in sorted(kinds)}


@torch.inference_mode()
def check(model: PreTrainedModel, voice: Voice) -> None:
    """Compare three texts of different lengths, decoded together, with each read alone. Raises UserError where they disagree.

    It is what makes "any causal model" honest: an architecture that reads masks or positions differently is found before it serves.
    """
    batch, low = Batch(model, voice, 3), 20
    vocabulary = model.config.get_text_config().vocab_size
    texts = [[low + (i * 7 + 3 * n) % max(1, vocabulary - low) for i in range(n)] for n in (9, 2, 5)]
    try:
        for ids in texts:
            cache = DynamicCache()
            model(input_ids=torch.tensor([ids[:-1]], device=model.device), past_key_values=cache, use_cache=True)
            batch.slots.add(cache)
        positions_R1, keys_1S = batch.slots.begin()
        together = model(
            input_ids=torch.tensor([[ids[-1]] for ids in texts], device=model.device),
            attention_mask=batch._mask(positions_R1, keys_1S),
            position_ids=positions_R1,
            past_key_values=batch.slots,
            use_cache=True,
        ).logits[:, -1]
        alone = torch.cat([model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[:, -1] for ids in texts])
    except (TypeError, ValueError, RuntimeError, AttributeError, NotImplementedError) as error:
        raise UserError(f"this kind of model cannot be batched here ({error}): put its own server behind --engine.") from error
    worst = float(((together - alone).abs().amax(1) / alone.float().std(1).clamp_min(1e-6)).max())
    if not worst < TOLERANCE * (10 if alone.dtype != torch.float32 else 1):
        raise UserError(f"in a batch this model says something else (off by {worst:.3f}): put its own server behind --engine.")
