"""Tokenizers of base models: taken over as they are, ids and all, and what the build needs beside it is added behind.

    SmolLM2   ... <|im_end|> 2 ... last id 49151     + nine bytes that it was never trained on, 49152 ...
    Llama 2   <unk> 0  <s> 1  </s> 2 ... 31999       + <|user|> 32000, <|assistant|> 32001, <|end|> 32002, for it has no turns

A token is added only where something is missing: marks of turns for a family that converses, where no chat template says
what they are; a mask for the masked family; bytes without which a text would not come back. `added` names, for each, the
token that the base model uses most alike; its row of the weights begins near that one's.

Two kinds of vocabularies give every text back, and so do for each family: byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM, RoBERTa) and
sentencepiece's BPE with a token for every byte (Llama 2, Mistral, Gemma). WordPiece (BERT) and Unigram (T5, XLM-RoBERTa) lose blanks,
lines and characters, some of them capitals too: what reads holes can live with that, what continues a text cannot.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from tokenizers import Tokenizer, pre_tokenizers

from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.special_tokens import MASK, SPECIAL_TOKENS, TURN_MARKS, SpecialIds
from privllm.tokens.encode import SPACE, Encoder, steps_of, unknown_id, with_type
from privllm.tokens.special_ids import find_special_ids

PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
AWKWARD = "Nothing, 12,345 naïve façades,\r\n\t数 🙂\x00\x04  \u00a0 don't  x\n\n "

Added = dict[int, int | None]  # {id of a new token: id of the one that it begins near, None for the mean of all}


class BaseTokenizer(NamedTuple):
    """A base model's tokenizer.json with what was missing, and the ids of that."""

    tokenizer: str
    added: Added

    def names(self) -> list[str]:
        """Return what was added, by name."""
        tokenizer = Tokenizer.from_str(self.tokenizer)
        return [str(tokenizer.id_to_token(token)) for token in self.added]


def complete(
    tokenizer_json: str, names: Mapping[str, str], where: str, families: Collection[str], *, needs_turns: bool
) -> BaseTokenizer:
    """Return the tokenizer, with what is missing added; one that lacks nothing is returned unchanged, to the byte.

    `names` are its special tokens by role ("eos_token"), `where` is its name in an error. Raises UserError for one that
    does not give every text back where one of `families` needs that, or names no end of text.
    """
    tokenizer_json = with_type(tokenizer_json)
    kind = _kind_of(tokenizer_json, where, families)
    special = find_special_ids(tokenizer_json, names, where)
    definition = json.loads(tokenizer_json)
    added: Added = {}
    vocabulary = definition["model"]["vocab"]
    if kind in (BYTE_LEVEL, BYTE_FALLBACK):
        for byte in sorted(_byte_names(kind) - vocabulary.keys()):
            vocabulary[byte] = special.size + len(added)
            added[vocabulary[byte]] = None
    marks = [SPECIAL_TOKENS[mark] for mark in TURN_MARKS] if needs_turns else []
    if special.mask is None and any(TRAITS[family].has_mask for family in families):
        marks.append(SPECIAL_TOKENS[MASK])
    tokenizer = Tokenizer.from_str(tokenizer_json)
    eos = tokenizer.token_to_id(names.get("eos_token", ""))
    for mark in marks:
        present = tokenizer.token_to_id(mark)
        if present in special.special:
            continue
        if present is not None:
            raise UserError(
                f"{where} has {mark} as an ordinary word, so a text could speak for somebody: make it a special token."
            )
        number = special.size + len(added)
        definition.setdefault("added_tokens", []).append({"id": number, "content": mark, **PLAIN})
        added[number] = special.end if eos is None else eos
    completed = json.dumps(definition, indent=1, ensure_ascii=False) + "\n" if added else tokenizer_json
    _require_ids(completed, definition, added, where)
    _require_round_trip(completed, find_special_ids(completed, names, where), where)
    return BaseTokenizer(completed, added)


BYTE_LEVEL, BYTE_FALLBACK = "byte-level BPE", "sentencepiece BPE with byte fallback"


def _require_ids(tokenizer_json: str, definition: dict[str, Any], added: Added, where: str) -> None:
    """Raise UserError where the library gives an added token another id than the file: it numbers them by their count."""
    loaded = Tokenizer.from_str(tokenizer_json)
    for token in definition.get("added_tokens", []):
        if token["id"] in added and loaded.token_to_id(token["content"]) != token["id"]:
            raise UserError(
                f"{where} has ids that no token has, so none can be added behind the last one: fill the gaps."
            )


def _byte_names(kind: str) -> set[str]:
    """Return how a kind of vocabulary names the 256 bytes."""
    if kind == BYTE_LEVEL:
        return set(pre_tokenizers.ByteLevel.alphabet())
    return {f"<0x{byte:02X}>" for byte in range(256)}


def _kind_of(tokenizer_json: str, where: str, families: Collection[str]) -> str:
    """Return how the vocabulary writes a text. Raises UserError for one that does not write every text, and one of `families` needs it."""
    definition = json.loads(tokenizer_json)
    model = definition.get("model", {})
    if model.get("type") == "BPE" and _is_byte_level(definition):
        return BYTE_LEVEL
    if model.get("type") == "BPE" and model.get("byte_fallback") and _is_plain_metaspace(definition):
        return BYTE_FALLBACK
    described = model.get("type", "no model")
    need_all = sorted(family for family in families if described not in TRAITS[family].lossy_vocabularies)
    if not need_all:
        return _lossy_kind(definition, where)
    can_do_without = [name for name, traits in TRAITS.items() if described in traits.lossy_vocabularies]
    remedy = f": set `families` to [{', '.join(can_do_without)}], or take another model" if can_do_without else ""
    raise UserError(
        f"{where} is neither {BYTE_LEVEL} nor {BYTE_FALLBACK} (it is {described}, or changes a text otherwise): a document "
        f"would not come back as it was, which the family {need_all[0]} needs{remedy}."
    )


def _lossy_kind(definition: Mapping[str, Any], where: str) -> str:
    """Return the kind of a vocabulary that changes a text. Raises UserError for one that has nothing to write unknown characters by."""
    if unknown_id(definition) is None:
        raise UserError(
            f"{where} names no token for what its vocabulary lacks, so not every document can be read with it."
        )
    return definition["model"]["type"]


def _is_byte_level(definition: Mapping[str, Any]) -> bool:
    """Return whether text becomes bytes, and bytes text, without any other change than to NFC, which documents have."""
    byte_levels = [step for step in steps_of(definition, "pre_tokenizer") if step["type"] == "ByteLevel"]
    if not byte_levels or any(step.get("add_prefix_space") for step in byte_levels):
        return False
    if [step["type"] for step in steps_of(definition, "decoder")] != ["ByteLevel"]:
        return False
    if not {step["type"] for step in steps_of(definition, "normalizer")} <= {"NFC"}:
        return False
    return all(token["special"] or token["content"].isascii() for token in definition.get("added_tokens", []))


def _is_plain_metaspace(definition: Mapping[str, Any]) -> bool:
    """Return whether a text is changed in no other way than spaces becoming "\u2581", and one before it."""
    for step in steps_of(definition, "normalizer"):
        is_space = step["type"] == "Replace" and step["pattern"] == {"String": " "} and step["content"] == SPACE
        if not is_space and step["type"] != "Prepend":
            return False
    decoders = {step["type"] for step in steps_of(definition, "decoder")}
    return "ByteFallback" in decoders and decoders <= {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}


def _require_round_trip(tokenizer_json: str, special: SpecialIds, where: str) -> None:
    """Raise UserError unless a text comes back, and no special token is made of a text that spells it."""
    encoder = Encoder(tokenizer_json)
    if encoder.is_lossy:
        return  # none comes back, and of special tokens the encoder keeps texts free
    names = [token["content"] for token in json.loads(tokenizer_json).get("added_tokens", []) if token["special"]]
    text = AWKWARD + " ".join(names)
    (tokens,) = encoder.encode([text])
    makes_special_tokens = not set(special.special).isdisjoint(tokens.tolist())
    if makes_special_tokens or encoder.decode(tokens) != text:
        raise UserError(
            f"{where} does not give a text back, or makes special tokens of what a document says: it cannot be used here."
        )
