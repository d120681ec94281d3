"""The engine in this process: one thread owns the model, asks come in from the event loop and pieces go back to it.

Too many asks at once are refused (429), and an ask that nobody listens to any more ends at the next step. One model, one thread, one
event loop; to use several GPUs, or for speed on large models, put another server behind `upstream`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from threading import Condition, Thread

from transformers import PreTrainedModel

from privllm.core.out_of_memory import shortage_explained
from privllm.serve.engine.base import Ask, Done, Refused, Served, Text
from privllm.serve.engine.prompting import Voice, open_folder
from privllm.serve.engine.scheduler import Batch, Job, check

BATCH = 32  # replies made at once
QUEUE = 64  # that may wait
RETRY_AFTER = 2.0  # seconds
log = logging.getLogger(__name__)
Event = Text | Done | Refused


class Batched:
    """A model that speaks with up to `batch` callers at once, while `queue` more wait."""

    def __init__(self, model: PreTrainedModel, voice: Voice, batch: int = BATCH, queue: int = QUEUE) -> None:
        check(model, voice)
        self.served = Served(voice.model, voice.tuned, voice.context)
        self._voice, self._batch, self._most = voice, Batch(model, voice, batch), batch + queue
        self._news = Condition()
        self._arrived: list[Job] = []
        self._closed = False
        self._present = 0  # asks from arrival to last event, read and written by the event loop only
        self._thread = Thread(target=self._work, name="model", daemon=True)

    @classmethod
    @shortage_explained("Serve a smaller model, or fewer callers at once (`--batch`), or close other programs")
    def open(cls, folder: Path, revision: str = "", batch: int = BATCH, queue: int = QUEUE) -> "Batched":
        """Raises UserError where `folder` holds no model that can be served."""
        return cls(*open_folder(folder, revision), batch, queue)

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def close(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    @property
    def running(self) -> int:
        """Replies that are being made, or wait to be."""
        return len(self._batch.rows) + len(self._batch.waiting) + len(self._arrived)

    async def size(self, ask: Ask) -> int:
        return len(await self._ids(ask))

    async def _ids(self, ask: Ask) -> list[int]:
        ids = await asyncio.to_thread(self._voice.ids, ask)  # a long text must not hold up the others' replies
        if len(ids) > self._voice.context:
            where = "prompt" if ask.messages is None else "messages"
            raise Refused(400, f"the prompt has {len(ids)} tokens, and this model sees {self._voice.context} at once: shorten it.", where)
        return ids

    async def stream(self, ask: Ask) -> AsyncIterator[Text | Done]:
        if self._present >= self._most:
            raise Refused(429, "too many replies are being made: try again shortly.", retry_after=RETRY_AFTER)
        self._present += 1
        events: asyncio.Queue[Event] = asyncio.Queue()
        job = None
        try:
            ids = await self._ids(ask)
            loop = self._loop
            job = Job(ids, ask.settings, lambda event: loop.call_soon_threadsafe(events.put_nowait, event))
            with self._news:
                self._arrived.append(job)
                self._news.notify()
            while True:
                event = await events.get()
                if isinstance(event, Refused):
                    raise event
                yield event
                if isinstance(event, Done):
                    return
        finally:
            self._present -= 1
            if job:
                job.cancelled = True

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._closed or self._arrived or not self._batch.idle)
                arrived, self._arrived = self._arrived, []
            if self._closed:
                return
            for job in arrived:
                self._batch.add(job)
            try:
                self._batch.step()
            except Exception:  # out of memory, most likely: those who were there get an error, those who come find a fresh start
                log.exception("a step of the model failed")
                for job in self._batch.clear():
                    job.emit(Refused(500, "the model failed; the server's log says why."))
