"""Continuous batching: sequences join and leave between steps, with the replies they get alone.

A prompt is read in chunks of at most `PROMPT_CHUNK` tokens, one chunk a step, so that a long prompt
does not delay the other replies; short ones that wait are read together, so that many callers at once
do not wait for each other. Then its keys and values become a row of the KV cache, and every step adds
one token to every row. A sequence longer than the context continues from its last half,
as in `models.generate`. Batching changes only rounding: sums may differ in their last bits, which
matters only where two tokens are equally likely to seven digits. It uses no threads and no web code
(see `local`).
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from privllm.core.errors import UserError
from privllm.serve.engine.base import Done, RequestRefused, SamplingSettings, Text, TokenLogprob
from privllm.serve.engine.detokenizer import Detokenizer
from privllm.serve.engine.grammar import Grammar
from privllm.serve.engine.kv_cache import KvCache
from privllm.serve.engine.prompting import PromptFormat
from privllm.serve.engine.sampling import Row, likelihood, sample_rows

PROMPT_CHUNK = 512  # tokens of prompts read per step
ATTENTION_KINDS = {"full_attention", "sliding_attention"}


class Echo(NamedTuple):
    """The prompt, said before the reply."""

    text: str
    first: int  # token of the prompt that the text begins with


@dataclass(eq=False)
class Job:
    """One reply being generated. `emit` receives events; `cancelled` ends it at the next step."""

    ids: list[int]  # prompt and reply so far
    settings: SamplingSettings
    emit: Callable[[Text | Done | RequestRefused], object]
    prompt_tokens: int = 0
    completion_tokens: int = 0
    echo: Echo | None = None
    grammar: Grammar | None = None  # which the reply follows
    cancelled: bool = False
    detokenizer: Detokenizer | None = None
    generator: torch.Generator = field(default_factory=torch.Generator)
    unread_ids: list[int] = field(default_factory=list)  # of the prompt
    prompt_cache: DynamicCache | None = None  # of the tokens already read
    untold: list[TokenLogprob] = field(default_factory=list)  # tokens that the next piece of text tells of

    def emit_text(self, text: str) -> None:
        if text or self.untold:
            tokens, self.untold = tuple(self.untold), []
            self.emit(Text(text, tokens))

    def row(self) -> Row:
        """Return what the next token is drawn by."""
        allowed = self.grammar.allowed() if self.grammar else None
        if not self.settings.has_penalties:
            return Row(self.settings, self.generator, allowed_V=allowed)
        prompt_ids, reply_ids = self.ids[: self.prompt_tokens], self.ids[self.prompt_tokens :]
        return Row(self.settings, self.generator, prompt_ids, reply_ids, allowed)


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
            together = self._short_prompts(budget)
            if len(together) > 1:
                budget -= self._read_together(together)
                continue
            job = self.waiting[0]
            chunk, job.unread_ids = job.unread_ids[:budget], job.unread_ids[budget:]
            budget -= len(chunk)
            input_ids = torch.tensor([chunk], device=self.model.device)
            kept = 0 if job.echo and job.settings.logprobs is not None else 1  # 0: those after every token
            output = self.model(
                input_ids=input_ids, past_key_values=job.prompt_cache, use_cache=True, logits_to_keep=kept
            )
            if not kept:
                self._tell_prompt(job, chunk, output.logits[0])
            if job.unread_ids:
                return
            prompt_cache, job.prompt_cache = job.prompt_cache, None
            assert prompt_cache is not None
            if self._begin(job, output.logits[:, -1]):
                self.kv_cache.add(prompt_cache)
                self.running.append(job)
            self.waiting.popleft()  # last: if a line above fails, the job is still among those that `clear` returns

    def _short_prompts(self, budget: int) -> list[Job]:
        """Return the first jobs that wait, as many as can be read whole at once: padded, they are within `budget`."""
        jobs: list[Job] = []
        longest = 0
        for job in self.waiting:
            is_begun = job.prompt_cache is None or job.prompt_cache.get_seq_length() > 0
            is_told = job.echo is not None and job.settings.logprobs is not None
            longest = max(longest, len(job.unread_ids))
            if is_begun or is_told or (len(jobs) + 1) * longest > budget:
                break
            if len(self.running) + len(jobs) == self.max_running:
                break
            jobs.append(job)
        return jobs

    def _read_together(self, jobs: Sequence[Job]) -> int:
        """Read the prompts of the first jobs that wait, and start their replies; return the tokens read, with padding."""
        prompts = [job.unread_ids for job in jobs]
        logits_RV, prompt_cache = self.read_whole(prompts)
        for row, job in enumerate(jobs):
            job.unread_ids, job.prompt_cache = [], None
            if self._begin(job, logits_RV[row : row + 1]):
                self.kv_cache.add(prompt_cache, row, len(prompts[row]))
                self.running.append(job)
            self.waiting.popleft()  # last, as above
        return len(prompts) * max(map(len, prompts))

    def read_whole(self, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, DynamicCache]:
        """Return logits [R, V] after each prompt, and their keys and values, one row a prompt.

        Padding stands behind a prompt, where none of its tokens looks, so it needs no mask.
        """
        longest = max(map(len, prompts))
        padded = [[*ids, *[0] * (longest - len(ids))] for ids in prompts]
        ends = sorted({len(ids) - 1 for ids in prompts})
        prompt_cache = DynamicCache()
        output = self.model(
            input_ids=torch.tensor(padded, device=self.model.device),
            past_key_values=prompt_cache,
            use_cache=True,
            logits_to_keep=torch.tensor(ends, device=self.model.device),
        )
        places = [ends.index(len(ids) - 1) for ids in prompts]
        return output.logits[range(len(prompts)), places], prompt_cache

    def _begin(self, job: Job, logits_1V: Tensor) -> bool:
        """Say the prompt where that is wanted, and add the first token; return False if that ends the reply."""
        if job.echo:
            job.emit_text(job.echo.text)
            job.echo = None
        if job.settings.max_tokens == 0:
            job.emit(Done("length", job.prompt_tokens, 0))
            return False
        return self._sample(logits_1V, [job])[0]

    def _tell_prompt(self, job: Job, chunk: Sequence[int], logits_CV: Tensor) -> None:
        """Note how likely the prompt's tokens are: `logits_CV` tell it of those after each of `chunk`."""
        assert job.echo
        start = len(job.ids) - len(job.unread_ids) - len(chunk)
        if start == 0 and job.echo.first == 0:
            job.untold.append(TokenLogprob(self.prompt_format.decode(job.ids[:1]), None, ()))
        for logits_V, token in zip(logits_CV, job.ids[start + 1 : start + 1 + len(chunk)], strict=False):
            job.untold.append(self._told(logits_V, token, job.settings.logprobs or 0))

    def _told(self, logits_V: Tensor, token: int, count: int) -> TokenLogprob:
        decode = self.prompt_format.decode
        likely = likelihood(logits_V, token, count)
        others = tuple((decode([other]), logprob) for other, logprob in likely.top)
        return TokenLogprob(decode([token]), likely.logprob, others)

    def _decode(self) -> None:
        """Add one token to every row."""
        if not self.running:
            return
        logits_RV = self.next_logits([job.ids[-1] for job in self.running])
        continues = self._sample(logits_RV, self.running)
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

    def _sample(self, logits_RV: Tensor, jobs: Sequence[Job]) -> list[bool]:
        """Add a token to each job; return which of them go on."""
        tokens = sample_rows(logits_RV, [job.row() for job in jobs], self.prompt_format.banned_ids)
        continues = []
        for job, token, logits_V in zip(jobs, tokens, logits_RV, strict=True):
            if token is None:
                job.emit(RequestRefused(500, "the model gave no probabilities for this prompt with these settings."))
                continues.append(False)
                continue
            if job.settings.logprobs is not None and token not in self.prompt_format.end_ids:
                job.untold.append(self._told(logits_V, token, job.settings.logprobs))
            try:
                continues.append(self._append(job, token))
            except RequestRefused as error:  # by the grammar that the reply follows
                job.emit(error)
                continues.append(False)
        return continues

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
        ended, complete = token in self.prompt_format.end_ids, False
        if not ended:
            job.ids.append(token)
            job.completion_tokens += 1
            job.emit_text(detokenizer.add(token))
            complete = job.grammar is not None and not job.grammar.add(token)
        stopped = ended or complete or detokenizer.stopped
        if not stopped and job.completion_tokens < job.settings.max_tokens:
            return True
        job.emit_text(detokenizer.flush())
        reason = "stop" if stopped else "length"
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
