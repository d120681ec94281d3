"""Chat with a model in a terminal, or through a pipe, with the prompts and replies of `serve`.

`Conversation` keeps the messages and streams a reply to a callback; `chat` reads lines and prints.
A model that was tuned for chat gets its chat format (see `engine.prompting`); any other model
continues each line by itself. Turns that no longer fit leave as in `engine.fitting`. Nothing typed or generated is stored on disk.
"""

import sys
from collections.abc import Callable
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
from privllm.serve.engine.base import Done, GenerationRequest, RequestRefused, SamplingSettings, Text
from privllm.serve.engine.batch_check import require_batching
from privllm.serve.engine.fitting import fit
from privllm.serve.engine.prompting import PromptFormat, open_folder
from privllm.serve.engine.scheduler import Job, Scheduler
from privllm.serve.terminal import MarkdownStream, read_messages

Emit = Callable[[str], None]


class Conversation:
    """A model and the messages so far."""

    def __init__(self, model: PreTrainedModel, prompt_format: PromptFormat, settings: SamplingSettings) -> None:
        self.prompt_format = prompt_format
        self.settings = settings
        self.messages: list[Message] = []
        self.left_out = 0  # messages that the last reply's prompt had no room for
        self.turns = 0
        self._scheduler = Scheduler(model, prompt_format, max_running=1)

    @classmethod
    @shortage_explained("Take a smaller model, or close other programs")
    def open(cls, folder: Path, settings: SamplingSettings) -> "Conversation":
        """Open the model in `folder`. Raises UserError where there is none."""
        model, prompt_format = open_folder(folder)
        require_batching(model, prompt_format)
        return cls(model, prompt_format, settings)

    def reply(self, message: str, emit: Emit) -> str:
        """Return the model's reply; `emit` receives its text piece by piece.

        After an interrupt the text generated so far is remembered. Raises RequestRefused where the
        model cannot read the message.
        """
        asked = (*self.messages, Message("user", message))
        prompt = fit(self.prompt_format, GenerationRequest(asked, "", self.settings))
        self.left_out = prompt.left_out
        pieces: list[str] = []

        def on_event(event: Text | Done | RequestRefused) -> None:
            if isinstance(event, Text):
                pieces.append(event.text)
                emit(event.text)

        seed = seed_of("chat", self.settings.seed, self.turns)
        settings = replace(self.settings, seed=seed, max_tokens=prompt.max_tokens)
        self.turns += 1
        self._scheduler.add(Job(prompt.ids, settings, on_event))
        try:
            while not self._scheduler.idle:
                self._scheduler.step()
        finally:
            self._scheduler.clear()
            text = "".join(pieces)
            self.messages = [*prompt.messages, Message("assistant", text)] if self.prompt_format.tuned else []
        return text


def chat(
    folder: Path,
    settings: SamplingSettings,
    source: TextIO | None = sys.stdin,
    console: Console | None = None,
) -> None:
    """Chat until the input ends (Ctrl-D); Ctrl-C stops a reply, or leaves where there is none.

    Raises UserError where there is no model, and for a line from a pipe that the model cannot read.
    """
    if source is None:  # Python's, where the shell has closed it
        raise UserError("there is no input: type to it, or pipe lines into it.")
    console = console or Console(highlight=False, markup=False)
    interactive = source.isatty()
    with console.status("loading the model") if interactive else nullcontext():
        conversation = Conversation.open(folder, settings)
    tuned = conversation.prompt_format.tuned
    if interactive:
        invitation = "Type a message" if tuned else "This model continues text: type the beginning of one"
        console.print(f"{invitation}. Ctrl-C stops a reply, Ctrl-D leaves.", style="dim")

    def show(text: str) -> None:
        console.out(printable(text, WORDS), end="", highlight=False)
        console.file.flush()

    formatted = interactive and tuned and console.is_terminal  # a text that is continued is no Markdown
    for message in read_messages(source, console, interactive):
        markdown = MarkdownStream(console)
        try:
            if not tuned:  # the text that the reply continues
                console.out(printable(message, WORDS), end="", style="dim" if interactive else None)
            try:
                conversation.reply(message, markdown.add if formatted else show)
            finally:
                markdown.end()
            if interactive and conversation.left_out:
                note = f"\n(messages that no longer fit, so that the model does not see them: {conversation.left_out})"
                console.print(note, style="dim", end="")
        except KeyboardInterrupt:
            console.out(" …", end="")
        except RequestRefused as error:
            if not interactive:
                raise UserError(error.message) from error
            console.print(printable(error.message), style="red", end="")
        console.out("\n" if interactive else "")
