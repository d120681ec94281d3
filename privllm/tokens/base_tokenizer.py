"""Tokenizers of base models in our layout: the same split into tokens, with the ids 0 to 5 for our special tokens.

    SmolLM2   <|endoftext|> 0   <|im_start|> 1       <|im_end|> 2        ...   last 49151
    ours      <|endoftext|> 0   <|pad|> 1 (new)      <|mask|> 2 (new)    ...   <|im_start|> 49152, <|im_end|> 49153, ...

All code recognises boundaries, masks and turns by these ids, so a tokenizer from elsewhere is
renumbered once, here, and the rows of the weights that belong to it are moved in the same way
(`moved`). Its special tokens for the end of a text, padding and masks become ours; missing ones are
new. Only byte-level BPE is accepted: other kinds do not give every text back.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from tokenizers import pre_tokenizers

from privllm.core.errors import UserError
from privllm.core.special_tokens import END_OF_TEXT, MASK, PAD, SPECIAL_TOKENS
from privllm.tokens.encode import Encoder

SENTINEL = re.compile(r"<extra_id_(\d+)>")
PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
# Names in other tokenizers, best first. An instruction-tuned model's eos ends a turn, so names of the
# end of a document go before it.
ENDS = ("<|end_of_text|>", "<|end▁of▁sentence|>")
LATER_ENDS = ("</s>", "[SEP]")
MASKS = ("[MASK]", "<mask>")
PADS = ("[PAD]", "<pad>")
AWKWARD = "Nothing, 12,345 naïve façades,\r\n\t数 🙂\x00\x04  \u00a0 don't  x\n\n "

Moved = dict[int, int | None]  # {our id: id in the base tokenizer, None for a new token}; all others are equal


class Arranged(NamedTuple):
    """A tokenizer.json in our layout, and the ids that changed."""

    tokenizer: str
    moved: Moved


def arrange(tokenizer_json: str, names: Mapping[str, str], where: str) -> Arranged:
    """Return the tokenizer in our layout; one that is in it already is returned unchanged.

    `names` are its special tokens by role ("eos_token"), `where` is its name in an error. Raises
    UserError for one that is not byte-level BPE, or names no end of text.
    """
    definition = {"added_tokens": [], "normalizer": None} | json.loads(tokenizer_json)
    _require_byte_level(definition, where)
    base_ids = dict(definition["model"]["vocab"])
    base_ids |= {token["content"]: token["id"] for token in definition["added_tokens"]}
    if _is_in_our_layout(base_ids):
        return Arranged(tokenizer_json, {})
    base_names = _base_names(base_ids, names, where)
    # SmolLM2 lacks bytes that it was never trained on, and would drop them.
    new_bytes = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - base_ids.keys())
    sentinels = _pop_sentinels(base_ids)
    ids = _new_ids(base_ids, base_names, new_bytes)
    arranged = json.dumps(_renumbered(definition, ids, base_names), indent=1, ensure_ascii=False) + "\n"
    _require_round_trip(arranged, where)
    return Arranged(arranged, _moved(base_ids, ids, base_names, new_bytes, sentinels))


def _is_in_our_layout(ids: Mapping[str, int]) -> bool:
    if any(SENTINEL.fullmatch(name) for name in ids):
        return False
    return all(ids.get(name) == number for number, name in enumerate(SPECIAL_TOKENS))


def _pop_sentinels(ids: dict[str, int]) -> dict[int, int]:
    """Remove T5's sentinels from `ids` and return {number of the sentinel: its id}."""
    sentinels = {}
    for name in list(ids):
        match = SENTINEL.fullmatch(name)
        if match:
            sentinels[int(match[1])] = ids.pop(name)
    return sentinels


def _moved(
    base_ids: Mapping[str, int],
    ids: Mapping[str, int],
    base_names: Mapping[int, str],
    new_bytes: list[str],
    sentinels: Mapping[int, int],
) -> Moved:
    """Return which row of the base model's weights each changed id takes, sorted by id."""
    moved: Moved = {}
    for name, base_id in base_ids.items():
        if ids[name] != base_id:
            moved[ids[name]] = base_id
    for byte in new_bytes:
        moved[ids[byte]] = None
    for number in range(len(SPECIAL_TOKENS)):
        if number not in base_names:
            moved[number] = None
    size = 1 + max(ids.values())
    for number, base_id in sentinels.items():
        sentinel_id = size + number  # as `seq2seq.sentinel` counts them
        if sentinel_id != base_id:
            moved[sentinel_id] = base_id
    return dict(sorted(moved.items()))


def _base_names(ids: Mapping[str, int], names: Mapping[str, str], where: str) -> dict[int, str]:
    """Return {our id: the base tokenizer's name} of those of our special tokens that it has."""
    eos = names.get("eos_token", "")
    end = _first_in(ids, (SPECIAL_TOKENS[END_OF_TEXT], *ENDS, eos, *LATER_ENDS))
    if end is None:
        raise UserError(
            f"{where} names no token that ends a text (`eos_token` in tokenizer_config.json), so documents could not be told apart."
        )
    pad = _first_in(ids, (SPECIAL_TOKENS[PAD], names.get("pad_token", ""), *PADS))
    if pad in (end, names.get("eos_token")):  # many pad with an end, which is learnt while padding is not
        pad = None
    mask = _first_in(ids, (SPECIAL_TOKENS[MASK], names.get("mask_token", ""), *MASKS))
    base_names = {END_OF_TEXT: end, PAD: pad, MASK: mask}
    for number in range(MASK + 1, len(SPECIAL_TOKENS)):
        base_names[number] = _first_in(ids, (SPECIAL_TOKENS[number],))
    return {number: name for number, name in base_names.items() if name is not None}


def _first_in(ids: Mapping[str, int], names: tuple[str, ...]) -> str | None:
    """Return the first of these names that has an id."""
    for name in names:
        if name in ids:
            return name
    return None


def _new_ids(
    base_ids: Mapping[str, int],
    base_names: Mapping[int, str],
    new_bytes: list[str],
) -> dict[str, int]:
    """Return {token: its id in our layout}.

    Special tokens get our ids and all others keep theirs. Tokens whose id is now taken, and new ones,
    get the smallest free ids.
    """
    ids = {name: number for number, name in base_names.items()}
    other_tokens = [(base_id, name) for name, base_id in base_ids.items() if name not in ids]
    without_id = []
    for base_id, name in sorted(other_tokens):
        if base_id < len(SPECIAL_TOKENS):
            without_id.append(name)
        else:
            ids[name] = base_id
    without_id += new_bytes
    first_id = len(SPECIAL_TOKENS)
    end = max(first_id, 1 + max(ids.values())) + len(without_id)
    free_ids = sorted(set(range(first_id, end)) - set(ids.values()))
    return ids | dict(zip(without_id, free_ids, strict=False))


def _renumbered(
    definition: dict[str, Any],
    ids: Mapping[str, int],
    base_names: Mapping[int, str],
) -> dict[str, Any]:
    """Return the definition with our ids and special tokens, and without steps that change texts."""
    our_name = {base_name: SPECIAL_TOKENS[number] for number, base_name in base_names.items()}
    vocabulary = {our_name.get(name, name): number for name, number in ids.items()}
    vocabulary |= {name: number for number, name in enumerate(SPECIAL_TOKENS)}
    added_tokens: list[dict[str, Any]] = [
        {"id": number, "content": name, **PLAIN} for number, name in enumerate(SPECIAL_TOKENS)
    ]
    for token in definition["added_tokens"]:
        name = token["content"]
        if name in ids and name not in our_name:
            added_tokens.append({**token, "id": ids[name]})
    by_id = dict(sorted(vocabulary.items(), key=lambda item: item[1]))
    return definition | {
        "model": definition["model"] | {"vocab": by_id, "unk_token": None},
        "added_tokens": sorted(added_tokens, key=lambda token: token["id"]),
        "normalizer": None,  # documents are NFC already, and decoding must give them back
        "post_processor": None,  # special tokens are put in as ids, never by the tokenizer
        "truncation": None,
        "padding": None,
    }


def _require_byte_level(definition: dict[str, Any], where: str) -> None:
    model = definition.get("model") or {}
    if _is_lossless_bpe(model) and _has_lossless_steps(definition):
        return
    raise UserError(
        f"{where} is no byte-level BPE that gives every text back ({model.get('type')}; GPT-2, Llama 3, Qwen and SmolLM have one). "
        "Learn a tokenizer of your own (`tokenizer.start: scratch`) and train from scratch, or start from another model."
    )


def _is_lossless_bpe(model: dict[str, Any]) -> bool:
    lossy_options = ("byte_fallback", "dropout", "continuing_subword_prefix", "end_of_word_suffix")
    is_lossy = any(model.get(option) for option in lossy_options)
    return model.get("type") == "BPE" and not is_lossy


def _has_lossless_steps(definition: dict[str, Any]) -> bool:
    """Return whether text becomes bytes, and bytes text, without any other change."""
    pre_steps = _steps(definition.get("pre_tokenizer"), "pretokenizers")
    decoders = _steps(definition.get("decoder"), "decoders")
    normalizers = _steps(definition["normalizer"], "normalizers")
    byte_levels = [step for step in pre_steps if step["type"] == "ByteLevel"]
    if not byte_levels or any(step.get("add_prefix_space") for step in byte_levels):
        return False
    if [step["type"] for step in decoders] != ["ByteLevel"]:
        return False
    if not {step["type"] for step in normalizers} <= {"NFC"}:
        return False
    return all(token["special"] or token["content"].isascii() for token in definition["added_tokens"])


def _steps(step: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    """Return the step, or the steps of a sequence, which are below `key`."""
    if step is None:
        return []
    return step[key] if step["type"] == "Sequence" else [step]


def _require_round_trip(tokenizer_json: str, where: str) -> None:
    """Raise UserError unless a text comes back, and no special token is made of a text that spells it."""
    encoder = Encoder(tokenizer_json)
    added_tokens = json.loads(tokenizer_json)["added_tokens"]
    special = {token["id"]: token["content"] for token in added_tokens if token["special"]}
    text = AWKWARD + " ".join(special.values())
    (tokens,) = encoder.encode([text])
    makes_special_tokens = not special.keys().isdisjoint(tokens.tolist())
    if makes_special_tokens or encoder.decode(tokens) != text:
        raise UserError(
            f"{where} does not give a text back, or makes special tokens of what a document says: it cannot be used here."
        )
