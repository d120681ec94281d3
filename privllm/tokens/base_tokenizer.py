"""Other people's tokenizers in the layout of ours: the same split into tokens, with the ids 0 to 5 for our six marks.

    SmolLM2   <|endoftext|> 0   <|im_start|> 1       <|im_end|> 2        ...   last 49151
    here      <|endoftext|> 0   <|pad|> 1 (new)      <|mask|> 2 (new)    ...   <|im_start|> 49152, <|im_end|> 49153, ...

All that knows a boundary, a gap or a turn knows it by these ids, so a tokenizer that comes from elsewhere is renumbered once, here, and
the rows of the weights that come with it are moved alike (`moved`). Its marks for the end of a text, padding and gaps become ours; what
it lacks is new. Only byte-level BPE is taken: other kinds do not give every text back.
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
# How others call them, best first. An instruction-tuned model's eos ends a turn, so what ends a document goes before it.
ENDS = ("<|end_of_text|>", "<|end▁of▁sentence|>")
LATER_ENDS = ("</s>", "[SEP]")
MASKS = ("[MASK]", "<mask>")
PADS = ("[PAD]", "<pad>")
AWKWARD = "Nothing, 12,345 naïve façades,\r\n\t数 🙂\x00\x04  \u00a0 don't  x\n\n "

Moved = dict[int, int | None]  # {id here: id there, None for a new token}; all others are the same


class Arranged(NamedTuple):
    """tokenizer.json in our layout, and which ids are other than they were."""

    tokenizer: str
    moved: Moved


def arrange(tokenizer_json: str, names: Mapping[str, str], where: str) -> Arranged:
    """`names` are special tokens by their role ("eos_token"), `where` is what to call it in an error.

    A tokenizer of ours comes back as it is. Raises UserError for one that is not byte-level BPE, or names no end of text.
    """
    parts = {"added_tokens": [], "normalizer": None} | json.loads(tokenizer_json)
    _require_byte_level(parts, where)
    ids = {**parts["model"]["vocab"], **{token["content"]: token["id"] for token in parts["added_tokens"]}}
    if all(ids.get(name) == number for number, name in enumerate(SPECIAL_TOKENS)) and not any(SENTINEL.fullmatch(name) for name in ids):
        return Arranged(tokenizer_json, {})
    marks = _marks(ids, names, where)
    missing = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - ids.keys())  # SmolLM2 lacks bytes that it never saw: it would drop them
    sentinels = {int(found[1]): ids.pop(name) for name in list(ids) if (found := SENTINEL.fullmatch(name))}
    placed = _placed(ids, marks, missing)
    arranged = json.dumps(_renumbered(parts, placed, marks), indent=1, ensure_ascii=False) + "\n"
    moved: Moved = {placed[name]: there for name, there in ids.items() if placed[name] != there}
    moved |= dict.fromkeys([*(placed[byte] for byte in missing), *(n for n in range(len(SPECIAL_TOKENS)) if n not in marks)])
    size = 1 + max(placed.values())
    moved |= {size + number: there for number, there in sentinels.items() if size + number != there}  # as `seq2seq.sentinel` counts them
    _require_round_trip(arranged, where)
    return Arranged(arranged, dict(sorted(moved.items())))


def _marks(ids: Mapping[str, int], names: Mapping[str, str], where: str) -> dict[int, str]:
    """{id here: the token there} of those of our marks that it has."""
    end = _first(ids, (SPECIAL_TOKENS[END_OF_TEXT], *ENDS, names.get("eos_token", ""), *LATER_ENDS))
    if end is None:
        raise UserError(
            f"{where} names no token that ends a text (`eos_token` in tokenizer_config.json), so documents could not be told apart."
        )
    found = {END_OF_TEXT: end, PAD: _first(ids, (SPECIAL_TOKENS[PAD], names.get("pad_token", ""), *PADS))}
    if found[PAD] in (end, names.get("eos_token")):  # many pad with an end, which is to be learnt, and padding is not
        found[PAD] = None
    found[MASK] = _first(ids, (SPECIAL_TOKENS[MASK], names.get("mask_token", ""), *MASKS))
    found |= {number: _first(ids, (SPECIAL_TOKENS[number],)) for number in range(MASK + 1, len(SPECIAL_TOKENS))}
    return {number: name for number, name in found.items() if name is not None}


def _first(ids: Mapping[str, int], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in ids), None)


def _placed(ids: Mapping[str, int], marks: Mapping[int, str], missing: list[str]) -> dict[str, int]:
    """{token: its id here}: marks first, all others where they were; what had a mark's place, or is new, in free ones."""
    placed = {name: number for number, name in marks.items()}
    rest = sorted((number, name) for name, number in ids.items() if name not in placed)
    placed |= {name: number for number, name in rest if number >= len(SPECIAL_TOKENS)}
    homeless = [name for number, name in rest if number < len(SPECIAL_TOKENS)] + missing
    end = 1 + max([len(SPECIAL_TOKENS) - 1, *placed.values()])
    free = sorted(set(range(len(SPECIAL_TOKENS), end + len(homeless))) - set(placed.values()))
    return placed | dict(zip(homeless, free, strict=False))


def _renumbered(parts: dict[str, Any], placed: Mapping[str, int], marks: Mapping[int, str]) -> dict[str, Any]:
    called = {name: SPECIAL_TOKENS[number] for number, name in marks.items()}
    vocab = {called.get(name, name): number for name, number in placed.items()} | {
        name: number for number, name in enumerate(SPECIAL_TOKENS)
    }
    kept = [token for token in parts["added_tokens"] if token["content"] in placed and token["content"] not in called]
    added = [{**token, "id": placed[token["content"]]} for token in kept]
    added += [{"id": number, "content": name, **PLAIN} for number, name in enumerate(SPECIAL_TOKENS)]
    model = parts["model"] | {"vocab": dict(sorted(vocab.items(), key=lambda item: item[1])), "unk_token": None}
    return parts | {
        "model": model,
        "added_tokens": sorted(added, key=lambda token: token["id"]),
        "normalizer": None,  # documents are NFC already, and what comes back is what was put in
        "post_processor": None,  # marks are put in as ids, never by the tokenizer
        "truncation": None,
        "padding": None,
    }


def _require_byte_level(parts: dict[str, Any], where: str) -> None:
    model = parts.get("model") or {}
    steps = _steps(parts.get("pre_tokenizer"), "pretokenizers")
    decoders = _steps(parts.get("decoder"), "decoders")
    normalizers = _steps(parts["normalizer"], "normalizers")
    levels = [step for step in steps if step["type"] == "ByteLevel"]
    others = any(model.get(key) for key in ("byte_fallback", "dropout", "continuing_subword_prefix", "end_of_word_suffix"))
    fits = (
        model.get("type") == "BPE"
        and not others
        and levels
        and not any(step.get("add_prefix_space") for step in levels)
        and [step["type"] for step in decoders] == ["ByteLevel"]
        and {step["type"] for step in normalizers} <= {"NFC"}
        and all(token["special"] or token["content"].isascii() for token in parts["added_tokens"])
    )
    if not fits:
        raise UserError(
            f"{where} is no byte-level BPE that gives every text back ({model.get('type')}; GPT-2, Llama 3, Qwen and SmolLM have one). "
            "Learn a tokenizer of your own (`tokenizer.start: scratch`) and train from scratch, or start from another model."
        )


def _steps(part: dict[str, Any] | None, inside: str) -> list[dict[str, Any]]:
    """A step, or those of a sequence."""
    return [] if part is None else part[inside] if part["type"] == "Sequence" else [part]


def _require_round_trip(tokenizer_json: str, where: str) -> None:
    """Nor may its own special tokens come out of a text that spells them."""
    encoder = Encoder(tokenizer_json)
    special = {token["id"]: token["content"] for token in json.loads(tokenizer_json)["added_tokens"] if token["special"]}
    text = AWKWARD + " ".join(special.values())
    (tokens,) = encoder.encode([text])
    if set(tokens.tolist()) & set(special) or encoder.decode(tokens) != text:
        raise UserError(f"{where} does not give a text back, or makes special tokens of what a document says: it cannot be used here.")
