"""How a folder's model is read and written: prompts to ids, ids to text, and the tokens that end a reply.

`Own` is what `export` wrote: turns as they were learnt (`tokens.chat_format`), and no text that people type becomes a special token.
`Foreign` is any other Hugging Face folder with a causal model: its own tokenizer and chat template, from local files, safetensors only,
and no code from the folder.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from privllm.core.errors import UserError
from privllm.core.special_tokens import END_OF_TEXT, MARKS
from privllm.engine.digests import digest_of
from privllm.feedback.records import Model
from privllm.models.family import load
from privllm.serve.engine.base import Ask, Refused
from privllm.serve.folders import require_model
from privllm.tokens.chat_format import Speech
from privllm.tokens.chat_template import marks_in
from privllm.tokens.encode import Encoder


class Voice(Protocol):
    model: Model
    tuned: bool
    context: int
    ends: frozenset[int]
    never: tuple[int, ...]  # ids that are not drawn

    def ids(self, ask: Ask) -> list[int]:
        """The prompt. Raises Refused where the model cannot read it."""
        ...

    def decode(self, ids: Sequence[int]) -> str: ...


def open_folder(folder: Path, revision: str = "") -> tuple[PreTrainedModel, Voice]:
    """The model of `folder`, in eval mode, on the GPU where there is one. Raises UserError where there is none to serve."""
    require_model(folder)
    provenance = folder / "provenance.json"
    if provenance.is_file():
        model: PreTrainedModel = load("causal", folder)
        voice: Voice = Own(folder, json.loads(provenance.read_text("utf-8")), revision, model.config.max_position_embeddings)
    else:
        model, voice = _foreign(folder, revision)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device).eval(), voice  # type: ignore[arg-type]


class Own:
    """A model that `export` wrote."""

    def __init__(self, folder: Path, provenance: dict[str, Any], revision: str, context: int) -> None:
        self.model = Model(provenance["name"], revision, provenance["digests"]["model"])
        self.tuned, self.context = bool(provenance["chat"]), context
        self._speech = Speech(folder)
        marks = self._speech.marks
        self.ends = frozenset(marks.ends if self.tuned else {END_OF_TEXT})
        # A model that was hardly trained would say marks of turns, and people's feedback on that would be refused as an attack.
        self.never: tuple[int, ...] = tuple(mark for mark in MARKS if mark not in self.ends)
        self._encoder = Encoder.open(folder)

    def ids(self, ask: Ask) -> list[int]:
        if ask.messages is None:
            return [END_OF_TEXT, *self._encode(ask.text)]
        for i, message in enumerate(ask.messages):
            if message.role == "system":
                raise Refused(400, "this model knows the roles `user` and `assistant` only.", f"messages[{i}].role")
        if not self.tuned:
            return [END_OF_TEXT, *self._encode(ask.messages[-1].content)]
        return self._speech.prompt([(message.role, message.content) for message in ask.messages])

    def _encode(self, text: str) -> list[int]:
        return self._encoder.encode([text])[0].tolist()

    def decode(self, ids: Sequence[int]) -> str:
        return self._encoder.decode(np.array(ids, np.int32))


class Foreign:
    """Any other causal model. A message that holds one of its special tokens is refused: its tokenizer would obey it."""

    def __init__(self, folder: Path, revision: str, context: int, ends: frozenset[int]) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        self.model = Model(folder.resolve().name, revision, digest_of(sorted(folder.glob("*.safetensors"))))
        self.tuned, self.context = bool(self._tokenizer.chat_template), context
        self.never: tuple[int, ...] = ()
        added = self._tokenizer.added_tokens_decoder.values()
        self._special = {str(token) for token in added if token.special} | set(self._tokenizer.all_special_tokens)
        self.ends = ends | ({self._tokenizer.eos_token_id} - {None}) | self._ends_of_turns()

    def ids(self, ask: Ask) -> list[int]:
        if ask.messages is None or not self.tuned:
            text = ask.text if ask.messages is None else ask.messages[-1].content
            self._harmless(text, "prompt" if ask.messages is None else "messages")
            return self._tokenizer(text)["input_ids"] or [self._tokenizer.bos_token_id or self._tokenizer.eos_token_id or 0]
        for i, message in enumerate(ask.messages):
            self._harmless(message.content, f"messages[{i}].content")
        turns = [{"role": m.role, "content": m.content} for m in ask.messages]
        try:
            return self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
        except Exception as error:  # jinja2's, and whatever a template raises by itself
            raise Refused(400, f"the model's chat template does not take these messages: {error}", "messages") from error

    def _ends_of_turns(self) -> set[int]:
        """What the chat template puts behind a reply, where that is a special token: not every folder names it as an end."""
        template, tokenizer = self._tokenizer.chat_template, self._tokenizer
        if not isinstance(template, str):
            return set()
        names = {role: text for role, text in tokenizer.special_tokens_map.items() if isinstance(text, str)}
        marks = marks_in(template, names, lambda text: tokenizer(text, add_special_tokens=False)["input_ids"])
        return {marks.end[0]} if marks and tokenizer.convert_ids_to_tokens(marks.end[0]) in self._special else set()

    def _harmless(self, text: str, where: str) -> None:
        for token in self._special:
            if token in text:
                raise Refused(400, f"`{token}` is a special token of this model and may not be typed.", where)

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _foreign(folder: Path, revision: str) -> tuple[PreTrainedModel, Foreign]:
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(folder, **local)
        model = AutoModelForCausalLM.from_pretrained(folder, config=config, use_safetensors=True, dtype="auto", **local)
        context = config.get_text_config().max_position_embeddings
        ends: Any = model.generation_config.eos_token_id if model.generation_config else None
        voice = Foreign(folder, revision, context, frozenset(ends if isinstance(ends, list) else {ends} - {None}))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{folder} holds no causal model that transformers opens ({error}): put its own server behind --engine.") from error
    return model, voice
