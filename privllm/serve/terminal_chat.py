"""Talking to a model in a terminal, or through a pipe: the same folders as `serve`, read, ended and written by the same code.

`Conversation` holds the turns and streams a reply to a callback; `chat` reads lines and prints. A model that was tuned for chat gets
its chat template (see `voice`); any other model continues each line by itself. Nothing typed or answered is kept on disk.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from rich.console import Console
from transformers import PreTrainedModel

from privllm.core.errors import UserError
from privllm.core.out_of_memory import shortage_explained
from privllm.core.printable import WORDS, printable
from privllm.core.seed import seed_of
from privllm.feedback.records import Message
from privllm.serve.engine.base import Ask, Done, Refused, Settings, Text
from privllm.serve.engine.prompting import Voice, open_folder
from privllm.serve.engine.scheduler import Batch, Job, check

Emit = Callable[[str], None]


class Conversation:
    """A model and what was said so far."""

    def __init__(self, model: PreTrainedModel, voice: Voice, settings: Settings) -> None:
        self.voice, self.settings = voice, settings
        self.messages: list[Message] = []
        self.turns = 0
        self._batch = Batch(model, voice, 1)

    @classmethod
    @shortage_explained("Take a smaller model, or close other programs")
    def open(cls, folder: Path, settings: Settings) -> "Conversation":
        """The model in `folder`. Raises UserError when there is none."""
        model, voice = open_folder(folder)
        check(model, voice)
        return cls(model, voice, settings)

    def reply(self, message: str, emit: Emit) -> str:
        """The model's answer; `emit` gets its text piece by piece. After an interrupt what was said until then is remembered.

        Raises Refused where the model cannot read the message.
        """
        asked, prompt = self._asked(message)
        pieces: list[str] = []

        def hear(event: Text | Done | Refused) -> None:
            if isinstance(event, Text):
                pieces.append(event.text)
                emit(event.text)

        settings = replace(self.settings, seed=seed_of("chat", self.settings.seed, self.turns))
        self.turns += 1
        self._batch.add(Job(prompt, settings, hear))
        try:
            while not self._batch.idle:
                self._batch.step()
        finally:
            self._batch.clear()
            text = "".join(pieces)
            self.messages = [*asked, Message("assistant", text)] if self.voice.tuned else []
        return text

    def _asked(self, message: str) -> tuple[list[Message], list[int]]:
        """The turns so far and this one, and their ids; the oldest leave where the model would not see all of them."""
        earlier = self.messages
        while True:
            asked = [*earlier, Message("user", message)]
            prompt = self.voice.ids(Ask(tuple(asked), "", self.settings))
            if len(prompt) <= self.voice.context or not earlier:
                return asked, prompt
            earlier = earlier[2:]


def chat(folder: Path, settings: Settings, source: TextIO = sys.stdin, console: Console | None = None) -> None:
    """Talk until the input ends (Ctrl-D); Ctrl-C stops a reply, or leaves when there is none.

    Raises UserError where no model is there, and for a line from a pipe that the model cannot read.
    """
    console = console or Console(highlight=False, markup=False)
    person = source.isatty()
    with console.status("loading the model") if person else nullcontext():
        conversation = Conversation.open(folder, settings)
    if person:
        what = "Type a message" if conversation.voice.tuned else "This model continues text: type the beginning of one"
        console.print(f"{what}. Ctrl-C stops a reply, Ctrl-D leaves.", style="dim")

    def show(text: str) -> None:
        console.out(printable(text, WORDS), end="", highlight=False)
        console.file.flush()

    for message in _messages(source, console, person):
        try:
            if not conversation.voice.tuned:
                console.out(printable(message, WORDS), end="", style="dim" if person else None)
            conversation.reply(message, show)
        except KeyboardInterrupt:
            console.out(" …", end="")
        except Refused as error:
            if not person:
                raise UserError(error.message) from error
            console.print(printable(error.message), style="red", end="")
        console.out("\n" if person else "")


def _messages(source: TextIO, console: Console, person: bool) -> Iterator[str]:
    """Lines that say something."""
    while True:
        try:
            line = console.input("> ") if person else source.readline()
        except (EOFError, KeyboardInterrupt):
            break
        if not person and not line:
            break
        if line.strip():
            yield line.strip()
    if person:
        console.out("")
