"""Prompt formats: messages to token ids, token ids to text, and the tokens that end a reply.

`ExportedFormat` is for folders that `export` wrote: turns as in training (`tokens.chat_format`),
and no typed text becomes a special token. `HuggingFaceFormat` is for any other folder with a causal
model: its own tokenizer and chat template, local files only, safetensors only, and no code from the
folder.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from privllm.core.errors import UserError
from privllm.core.families import CAUSAL
from privllm.engine.digests import digest_of
from privllm.feedback.records import Model
from privllm.models.devices import place
from privllm.models.end_tokens import ends_in, read_settings
from privllm.models.loading import load
from privllm.serve.engine.base import GenerationRequest, RequestRefused
from privllm.serve.folders import require_model
from privllm.tokens.chat_format import Speech
from privllm.tokens.chat_template import marks_in
from privllm.tokens.encode import Encoder
from privllm.tokens.special_ids import special_ids

LOCAL_ONLY = {"local_files_only": True, "trust_remote_code": False}


class PromptFormat(Protocol):
    """Tokenizer and chat format of one model."""

    model: Model
    tuned: bool  # True: the model answers messages; False: it continues text
    context: int  # tokens the model can attend to at once
    end_ids: frozenset[int]  # each of them ends a reply
    banned_ids: tuple[int, ...]  # never sampled

    def encode(self, request: GenerationRequest) -> list[int]:
        """Return the ids of the prompt. Raises RequestRefused where the model cannot read it."""
        ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def tokenizer_json(self) -> str:
        """Return the tokenizer as tokenizer.json holds it."""
        ...


def open_folder(folder: Path, revision: str = "") -> tuple[PreTrainedModel, PromptFormat]:
    """Return the model of `folder`, in eval mode, on a GPU if possible, and its prompt format.

    Raises UserError where `folder` holds no model that can be served.
    """
    require_model(folder)
    if (folder / "provenance.json").is_file():
        model, prompt_format = _open_exported(folder, revision)
    else:
        model, prompt_format = _open_hugging_face(folder, revision)
    return place(model).eval(), prompt_format


def _open_exported(folder: Path, revision: str) -> tuple[PreTrainedModel, PromptFormat]:
    provenance = json.loads((folder / "provenance.json").read_text("utf-8"))
    model = load(CAUSAL.name, folder)
    return model, ExportedFormat(folder, provenance, revision, model.config.max_position_embeddings)


def _open_hugging_face(folder: Path, revision: str) -> tuple[PreTrainedModel, PromptFormat]:
    try:
        config = AutoConfig.from_pretrained(folder, **LOCAL_ONLY)
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            dtype="auto",
            **LOCAL_ONLY,
        )
        context = config.get_text_config().max_position_embeddings
        return model, HuggingFaceFormat(folder, revision, context, _configured_end_ids(model))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(
            f"{folder} holds no causal model that transformers opens ({error}): put its own server behind --engine."
        ) from error


def _configured_end_ids(model: PreTrainedModel) -> frozenset[int]:
    """Return the ids of generation_config.json's `eos_token_id`: one, several or none."""
    end_ids: Any = model.generation_config.eos_token_id if model.generation_config else None
    if end_ids is None:
        return frozenset()
    return frozenset(end_ids if isinstance(end_ids, list) else {end_ids})


class ExportedFormat:
    """Prompt format of a model that `export` wrote."""

    def __init__(self, folder: Path, provenance: dict[str, Any], revision: str, context: int) -> None:
        self.model = Model(provenance["name"], revision, provenance["digests"]["model"])
        self.tuned = bool(provenance["chat"])
        self._folder = folder
        self.context = context
        self._chat_format = Speech(folder)
        self._encoder = Encoder.open(folder)
        self._special = special_ids(folder)
        self.end_ids = frozenset({self._special.end})
        if self.tuned:
            self.end_ids = frozenset({*self._chat_format.marks.ends, *ends_in(read_settings(folder))})
        # A model with little training would write marks of turns, and feedback on such a reply would
        # be refused as an attack.
        self.banned_ids = self._special.never_written(tuple(self.end_ids))

    def encode(self, request: GenerationRequest) -> list[int]:
        if request.messages is None:
            return self._encode_text(request.text)
        for index, message in enumerate(request.messages[1:], start=1):
            if message.role == "system":
                raise RequestRefused(400, "a system message may only be the first one.", f"messages[{index}].role")
        if not self.tuned:
            return self._encode_text(request.messages[-1].content + request.begun)
        prompt = self._chat_format.prompt([(message.role, message.content) for message in request.messages])
        return [*prompt, *self._chat_format.ids(request.begun)]

    def _encode_text(self, text: str) -> list[int]:
        return [self._special.begin, *self._encoder.encode([text])[0].tolist()]

    def decode(self, ids: Sequence[int]) -> str:
        return self._encoder.decode(np.array(ids, np.int32))

    def tokenizer_json(self) -> str:
        return (self._folder / "tokenizer.json").read_text("utf-8")


class HuggingFaceFormat:
    """Prompt format of any other causal model.

    A message that contains one of its special tokens is refused, because its tokenizer would read
    it as that token.
    """

    def __init__(self, folder: Path, revision: str, context: int, end_ids: frozenset[int]) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, **LOCAL_ONLY)
        self.model = Model(folder.resolve().name, revision, digest_of(sorted(folder.glob("*.safetensors"))))
        self.tuned = bool(self._tokenizer.chat_template)
        self.context = context
        self.banned_ids: tuple[int, ...] = ()
        added_tokens = self._tokenizer.added_tokens_decoder.values()
        self._special_tokens = {str(token) for token in added_tokens if token.special}
        self._special_tokens |= set(self._tokenizer.all_special_tokens)
        self.end_ids = end_ids | ({self._tokenizer.eos_token_id} - {None}) | self._turn_end_ids()

    def encode(self, request: GenerationRequest) -> list[int]:
        if request.messages is None:
            return self._encode_text(request.text, "prompt")
        if not self.tuned:
            return self._encode_text(request.messages[-1].content + request.begun, "messages")
        for index, message in enumerate(request.messages):
            self._require_no_special_tokens(message.content, f"messages[{index}].content")
        turns = [{"role": message.role, "content": message.content} for message in request.messages]
        try:
            encoding = self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)
        except Exception as error:  # jinja2's errors, and those that a template raises by itself
            reason = f"the model's chat template does not take these messages: {error}"
            raise RequestRefused(400, reason, "messages") from error
        self._require_no_special_tokens(request.begun, "messages")
        begun_ids = self._tokenizer(request.begun, add_special_tokens=False)["input_ids"]
        return [*encoding["input_ids"], *begun_ids]

    def _encode_text(self, text: str, param: str) -> list[int]:
        self._require_no_special_tokens(text, param)
        first_id = self._tokenizer.bos_token_id or self._tokenizer.eos_token_id or 0
        return self._tokenizer(text)["input_ids"] or [first_id]

    def _turn_end_ids(self) -> set[int]:
        """Return the token that the chat template puts after a reply, where it is a special token.

        Not every folder names that token among those that end a text.
        """
        template, tokenizer = self._tokenizer.chat_template, self._tokenizer
        if not isinstance(template, str):
            return set()
        names = {role: text for role, text in tokenizer.special_tokens_map.items() if isinstance(text, str)}
        marks = marks_in(template, names, lambda text: tokenizer(text, add_special_tokens=False)["input_ids"])
        if not marks:
            return set()
        end_id = marks.end[0]
        return {end_id} if tokenizer.convert_ids_to_tokens(end_id) in self._special_tokens else set()

    def _require_no_special_tokens(self, text: str, param: str) -> None:
        for token in self._special_tokens:
            if token in text:
                raise RequestRefused(400, f"`{token}` is a special token of this model and may not be typed.", param)

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def tokenizer_json(self) -> str:
        return self._tokenizer.backend_tokenizer.to_str()
