"""Talking to an exported model in a terminal, or through a pipe.

`Conversation` holds the turns and streams a reply to a callback; `chat` reads lines and prints. A model that was tuned for chat gets
the chat template, as token ids, so that a typed "<|end|>" is text; any other model continues each line by itself. Nothing typed or
answered is kept on disk.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np
from rich.console import Console
from transformers import PreTrainedModel

from privllm.core.printable import WORDS, printable
from privllm.core.seed import seed_of
from privllm.model.families import load
from privllm.model.generate import SamplingConfig, generate
from privllm.model.special import END_OF_TEXT, MARKS
from privllm.serve.spoken import Spoken
from privllm.tokens.encoding import Encoder
from privllm.tokens.speech import Marks, Speech

Emit = Callable[[str], None]


class EndOfReply(Exception):
    """The model wrote the token that ends its turn: generation stops, nothing went wrong."""


class Conversation:
    """A model and what was said so far. `marks` are those of turns, where the model knows turns."""

    def __init__(self, model: PreTrainedModel, encoder: Encoder, marks: Marks | None, sampling: SamplingConfig) -> None:
        self.model, self.encoder, self.marks, self.sampling = model, encoder, marks, sampling
        self.history: list[int] = []
        self.turns = 0

    @classmethod
    def open(cls, folder: Path, sampling: SamplingConfig) -> "Conversation":
        """The model that `export` wrote to `folder`. Raises UserError when there is none."""
        model = load("causal", folder)
        provenance = folder / "provenance.json"
        tuned = provenance.is_file() and bool(json.loads(provenance.read_text("utf-8")).get("chat"))
        return cls(model, Encoder.open(folder), Speech(folder).marks if tuned else None, sampling)

    def prompt(self, message: str) -> list[int]:
        """The ids the model reads: the turns so far and this one, or just the text to continue."""
        typed = self.encoder.encode([message])[0].tolist()
        if self.marks is None:
            return [END_OF_TEXT, *typed]
        return [*self.marks.begin, *self.history, *self.marks.user, *typed, *self.marks.end, *self.marks.assistant]

    def reply(self, message: str, emit: Emit) -> str:
        """The model's answer; `emit` gets its text piece by piece. After an interrupt what was said until then is remembered."""
        prompt, stream = self.prompt(message), TextStream(self.encoder, emit)
        cfg = replace(self.sampling, seed=seed_of("chat", self.sampling.seed, self.turns))
        self.turns += 1
        try:
            if self.marks:
                end = self.marks.end[0]
                never = [mark for mark in MARKS if mark != end]
                generate(self.model, prompt, cfg, self._until_end(stream, end), never)
            else:
                generate(self.model, prompt, cfg, stream.add)
        except EndOfReply:
            pass
        finally:
            stream.close()
            self.history = [*prompt[len(self.marks.begin) :], *stream.tokens, *self.marks.end] if self.marks else []
        return stream.text

    def _until_end(self, stream: "TextStream", end: int) -> Callable[[int], None]:
        def add(token: int) -> None:
            if token == end:
                raise EndOfReply
            stream.add(token)

        return add


class TextStream:
    """Tokens to text for `emit`, as `Spoken` lets it go; keeps both."""

    def __init__(self, encoder: Encoder, emit: Emit) -> None:
        self._spoken = Spoken(lambda ids: encoder.decode(np.array(ids, np.int32)))
        self._emit = emit
        self.tokens: list[int] = []
        self.text = ""

    def add(self, token: int) -> None:
        self.tokens.append(token)
        self._say(self._spoken.add(token))

    def close(self) -> None:
        """Pass on what is left, half characters as U+FFFD."""
        self._say(self._spoken.rest())

    def _say(self, text: str) -> None:
        self.text += text
        if text:
            self._emit(text)


def chat(folder: Path, sampling: SamplingConfig, source: TextIO = sys.stdin, console: Console | None = None) -> None:
    """Talk until the input ends (Ctrl-D); Ctrl-C stops a reply, or leaves when there is none."""
    console = console or Console(highlight=False, markup=False)
    person = source.isatty()
    with console.status("loading the model") if person else nullcontext():
        conversation = Conversation.open(folder, sampling)
    if person:
        what = "Type a message" if conversation.marks else "This model continues text: type the beginning of one"
        console.print(f"{what}. Ctrl-C stops a reply, Ctrl-D leaves.", style="dim")

    def show(text: str) -> None:
        console.out(printable(text, WORDS), end="", highlight=False)
        console.file.flush()

    for message in _messages(source, console, person):
        try:
            if not conversation.marks:
                console.out(printable(message, WORDS), end="", style="dim" if person else None)
            conversation.reply(message, show)
        except KeyboardInterrupt:
            console.out(" …", end="")
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
