"""The engine in this process: one thread owns the model and serves the event loop's requests.

Requests beyond the limit are refused with 429, and a request whose client has disconnected ends at
the next step. There is one model, one thread and one event loop; for several GPUs, or for speed on
large models, put another server behind `remote`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Condition, Thread

from transformers import PreTrainedModel

from privllm.core.out_of_memory import shortage_explained
from privllm.serve.engine.base import Done, GenerationRequest, RequestRefused, ServedModel, Text, server_stops
from privllm.serve.engine.batch_check import require_batching
from privllm.serve.engine.fitting import Prompt, fit
from privllm.serve.engine.grammar import Grammars
from privllm.serve.engine.prompting import PromptFormat, open_folder
from privllm.serve.engine.scheduler import Echo, Job, Scheduler

BATCH = 32  # replies generated at once
QUEUE = 64  # replies that may wait
RETRY_AFTER = 2.0  # seconds
log = logging.getLogger(__name__)
Event = Text | Done | RequestRefused


class LocalEngine:
    """A model that generates up to `batch` replies at once, while `queue` more wait."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompt_format: PromptFormat,
        batch: int = BATCH,
        queue: int = QUEUE,
    ) -> None:
        require_batching(model, prompt_format)
        self.served = ServedModel(prompt_format.model, prompt_format.tuned, prompt_format.context)
        self._prompt_format = prompt_format
        self._scheduler = Scheduler(model, prompt_format, batch)
        self._vocabulary = model.config.get_text_config().vocab_size
        self._grammars = Grammars(prompt_format.tokenizer_json, self._vocabulary, prompt_format.end_ids)
        # One of its own, since a schema may take a second: nobody else waits for that.
        self._compiler = ThreadPoolExecutor(1, thread_name_prefix="grammar")
        self._max_requests = batch + queue
        self._changed = Condition()  # guards the three below
        self._arrived: list[Job] = []
        self._closed = self._ending = False
        self._open_requests = 0  # read and written by the event loop only
        self._thread = Thread(target=self._work, name="model", daemon=True)

    @classmethod
    @shortage_explained("Serve a smaller model, or fewer callers at once (`--batch`), or close other programs")
    def open(cls, folder: Path, revision: str = "", batch: int = BATCH, queue: int = QUEUE) -> "LocalEngine":
        """Open the model in `folder`. Raises UserError where it holds none that can be served."""
        model, prompt_format = open_folder(folder, revision)
        return cls(model, prompt_format, batch, queue)

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def end_replies(self) -> None:
        self._ending = True  # no lock, since a signal's handler may call this; the thread looks after each step

    async def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._compiler.shutdown(wait=False, cancel_futures=True)
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    @property
    def running(self) -> int:
        """Number of replies that are being generated or wait to be."""
        return len(self._scheduler.running) + len(self._scheduler.waiting) + len(self._arrived)

    async def healthy(self) -> bool:
        return self._thread.is_alive()

    async def encode(self, request: GenerationRequest) -> list[int]:
        return await asyncio.to_thread(self._prompt_format.encode, request)

    async def decode(self, ids: Sequence[int]) -> str:
        self._require_known(ids, "tokens")
        return await asyncio.to_thread(self._prompt_format.decode, ids)

    async def count_tokens(self, request: GenerationRequest) -> int:
        return len((await self._fit(request)).ids)

    async def _fit(self, request: GenerationRequest) -> Prompt:
        self._require_known(request.ids or (), "prompt")
        # In a thread: encoding a long text must not delay other clients' replies.
        return await asyncio.to_thread(fit, self._prompt_format, request)

    def _require_known(self, ids: Sequence[int], param: str) -> None:
        if ids and not 0 <= min(ids) <= max(ids) < self._vocabulary:
            message = f"a token of this model is one of 0 to {self._vocabulary - 1}."
            raise RequestRefused(400, message, param, code="invalid_value")

    def _echo(self, request: GenerationRequest, ids: list[int]) -> Echo:
        """Return the text to continue. The token that is put before a text is no part of it."""
        decode = self._prompt_format.decode
        if request.ids is not None:
            return Echo(decode(ids), 0)
        return Echo(request.text, 0 if request.text.startswith(decode(ids[:1])) else 1)

    async def stream(self, request: GenerationRequest) -> AsyncIterator[Text | Done]:
        if self._open_requests >= self._max_requests:
            message = "too many replies are being generated: try again shortly."
            raise RequestRefused(429, message, retry_after=RETRY_AFTER)
        self._open_requests += 1
        job = None
        try:
            prompt = await self._fit(request)
            settings = replace(request.settings, max_tokens=prompt.max_tokens)
            loop = self._loop
            events: asyncio.Queue[Event] = asyncio.Queue()
            job = Job(prompt.ids, settings, lambda event: loop.call_soon_threadsafe(events.put_nowait, event))
            job.echo = self._echo(request, prompt.ids) if request.echo else None
            if settings.json_schema:
                job.grammar = await loop.run_in_executor(self._compiler, self._grammars.start, settings.json_schema)
            with self._changed:
                self._arrived.append(job)
                self._changed.notify()
            while True:
                event = await events.get()
                if isinstance(event, RequestRefused):
                    raise event
                yield replace(event, left_out=prompt.left_out) if prompt.left_out else event
                if isinstance(event, Done):
                    return
        finally:
            self._open_requests -= 1
            if job:
                job.cancelled = True

    def _work(self) -> None:
        """Run steps of the model until the engine is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._arrived or not self._scheduler.idle)
                arrived, self._arrived = self._arrived, []
            if self._closed:
                return
            for job in arrived:
                self._scheduler.add(job)
            if self._ending:
                self._refuse_all(server_stops())
                continue
            try:
                self._scheduler.step()
            except Exception:  # most likely out of memory: current requests get an error, later ones a fresh start
                log.exception("a step of the model failed")
                self._refuse_all(RequestRefused(500, "the model failed; the server's log says why."))

    def _refuse_all(self, refusal: RequestRefused) -> None:
        for job in self._scheduler.clear():
            job.emit(refusal)
