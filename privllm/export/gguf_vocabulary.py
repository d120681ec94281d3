"""A tokenizer.json as the vocabulary of a GGUF file: tokens, merges, kinds of tokens, ends, and the name of the split into words.

llama.cpp has the splits of known tokenizers built in, by name. Its own converter recognises a tokenizer by a hash of what it makes of one
text, and so none that was learnt here; here it is known by the pattern that stands in tokenizer.json. A sentencepiece BPE has scores in
place of merges, for which the order of its merges serves.
"""

import json
from collections.abc import Iterable, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer, pre_tokenizers

from privllm.core.errors import UserError
from privllm.tokens.chat_format import template_of
from privllm.tokens.encode import WORDS, puts_space_in_front, steps_of
from privllm.tokens.special_ids import read_object, read_tokenizer

ENDS = ("eos", "eot", "eom")  # a file has room for three: of a text, a turn, a message
PREFIX = "tokenizer.ggml."
QWEN_WORDS = WORDS.replace(r"\p{N}{1,3}", r"\p{N}")
GPT2 = ("ByteLevel", True)
BYTES_ONLY = ("ByteLevel", False)
# {(its steps, whether whole words skip the merges): llama.cpp's name}
SPLITS: dict[tuple[tuple[tuple[str, Any], ...], bool], str] = {
    ((("Split", WORDS), BYTES_ONLY), True): "llama-bpe",
    ((("Split", WORDS), BYTES_ONLY), False): "smaug-bpe",  # the same split; SmolLM3 has this name too
    ((("Split", QWEN_WORDS), BYTES_ONLY), False): "qwen2",
    ((("Digits", True), GPT2), False): "smollm",
    ((GPT2,), False): "gpt-2",
}


TAKE_SPACE = ("phi-3", "phi3")  # in the name of a model, by which alone llama.cpp knows that
LEAVE_SPACE = ("<unk>", "<s>", "<|endoftext|>")  # of the special tokens of such a model
LOOKED_UP = (*LEAVE_SPACE, "</s>")  # in such a model, which llama.cpp does not load without one of them


class Kind(IntEnum):
    """What a token is, as GGUF numbers it."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Vocabulary(NamedTuple):
    """What of a GGUF file is of the tokenizer, without the keys' common beginning."""

    values: dict[str, str | bool | int]
    tokens: list[str]
    kinds: list[int]
    merges: list[str]  # of a byte-level BPE
    scores: list[float]  # of a sentencepiece BPE
    template: str  # "" where there is none
    ends: list[int]  # all that end a text or a reply
    notes: list[str]  # what llama.cpp will do otherwise


def read_vocabulary(folder: Path, rows: int, config: Mapping[str, Any], name: str = "") -> Vocabulary:
    """Return the vocabulary of `folder` for a matrix of so many rows; `config` is its config.json with generation_config.json.

    `name` is the model's in the file, from which llama.cpp draws a conclusion (`takes_space`).
    Raises UserError for a tokenizer that llama.cpp cannot be told of.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no tokenizer.json, without which a model reads no text.")
    try:
        definition = json.loads(path.read_text("utf-8"))
        Tokenizer.from_file(str(path))
    except Exception as error:  # `tokenizers` raises plain exceptions
        raise UserError(f"{path} cannot be read ({error}).") from error
    if definition["model"]["type"] != "BPE":
        raise UserError(
            f"{path} is a {definition['model']['type']} tokenizer, which is not written as GGUF here: only BPE is."
        )
    settings = _settings(folder)
    pieces = definition["model"].get("byte_fallback") is True and not _byte_level(definition)
    values: dict[str, str | bool | int] = {"model": "llama" if pieces else "gpt2"}
    values["pre"] = "default" if pieces else split_name(definition, str(path))
    tokens, kinds = _tokens(definition, rows, pieces, str(path))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in definition["model"]["merges"]]
    scores: list[float] = []
    if pieces:
        scores, merges = _scores(tokens, definition["model"]["merges"], str(path)), []
        values["add_space_prefix"] = puts_space_in_front(definition)
    ids = {token: number for number, token in enumerate(tokens)}
    ends = _ends(config, settings, ids)
    bos = ids.get(settings.get("bos_token", ""), config.get("bos_token_id"))
    before, after = _added_around(path, settings)
    bos = before[0] if before else bos
    named = {"bos": ends[0] if bos is None and ends else bos}
    named |= dict(zip(ENDS, ends, strict=False))
    named["padding"] = ids.get(settings.get("pad_token", ""), config.get("pad_token_id"))
    named["unknown"] = ids.get(settings.get("unk_token", ""))
    values |= {f"{role}_token_id": number for role, number in named.items() if number is not None}
    values |= {"add_bos_token": bool(before), "add_eos_token": bool(after)}
    _require_looked_up(tokens, name, str(path))
    notes = [*_notes(definition, tokens, ends), *_space_notes(definition, name)]
    return Vocabulary(values, tokens, kinds, merges, scores, template_of(folder), ends, notes)


def split_name(definition: Mapping[str, Any], where: str) -> str:
    """Return llama.cpp's name of the split into words. Raises UserError for one that it does not have."""
    model = definition["model"]
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise UserError(f"{where} marks parts of words by a prefix or suffix, which llama.cpp does not read.")
    steps = []
    for step in steps_of(definition, "pre_tokenizer"):
        steps.append(_step(step))
    name = SPLITS.get((tuple(steps), bool(model.get("ignore_merges"))))
    if name is None:
        known = ", ".join(sorted(set(SPLITS.values())))
        raise UserError(
            f"{where} splits text into words in a way that is not known here by llama.cpp's name, so its ids would differ (known: {known})."
        )
    return name


def _step(step: Mapping[str, Any]) -> tuple[str, Any]:
    """Return a step of the split with all that it depends on."""
    kind = step["type"]
    if kind == "Split" and step["behavior"] == "Isolated" and not step["invert"]:
        return kind, step["pattern"].get("Regex")
    if kind == "Digits":
        return kind, step["individual_digits"]
    if kind == "ByteLevel" and not step["add_prefix_space"]:
        return kind, step.get("use_regex", True)
    return kind, json.dumps(step)


def _byte_level(definition: Mapping[str, Any]) -> bool:
    return any(step["type"] == "ByteLevel" for step in steps_of(definition, "pre_tokenizer"))


def _tokens(definition: Mapping[str, Any], rows: int, pieces: bool, where: str) -> tuple[list[str], list[int]]:
    """Return the token of each row, and its kind; a row without a token gets a name that no text has."""
    by_id = {number: (token, Kind.NORMAL) for token, number in definition["model"]["vocab"].items()}
    if pieces:
        for number in range(256):
            token = f"<0x{number:02X}>"
            if token in definition["model"]["vocab"]:
                by_id[definition["model"]["vocab"][token]] = (token, Kind.BYTE)
    for token in definition["added_tokens"]:
        by_id[token["id"]] = (token["content"], Kind.CONTROL if token["special"] else Kind.USER_DEFINED)
    unknown = definition["model"].get("unk_token")
    if pieces and unknown in definition["model"]["vocab"]:
        by_id[definition["model"]["vocab"][unknown]] = (unknown, Kind.UNKNOWN)
    if max(by_id) >= rows:
        raise UserError(
            f"{where} has the id {max(by_id)}, but the model only {rows} rows: they are of different models."
        )
    tokens, kinds = [], []
    for number in range(rows):
        token, kind = by_id.get(number, (f"[PAD{number}]", Kind.UNUSED))
        tokens.append(token)
        kinds.append(int(kind))
    return tokens, kinds


def _scores(tokens: list[str], merges: list[Any], where: str) -> list[float]:
    """Return the score of each token, by which a sentencepiece BPE merges: the earlier its merges, the higher.

    Raises UserError where the merges of one token do not stand together, as then no score gives their order.
    """
    order: dict[str, int] = {}
    last = ""
    for merge in merges:
        token = "".join(merge.split(" ")) if isinstance(merge, str) else "".join(merge)
        if token in order and token != last:
            raise UserError(f"{where} merges `{token}` in several places, which no score of a token can say.")
        order.setdefault(token, len(order))
        last = token
    return [float(-order[token]) if token in order else 0.0 for token in tokens]


def _ends(config: Mapping[str, Any], settings: Mapping[str, str], ids: Mapping[str, int]) -> list[int]:
    """Return the ids that end a text or a reply, that of the tokenizer first."""
    named = config.get("eos_token_id")
    ends = list(named) if isinstance(named, list) else [named]
    first = ids.get(settings.get("eos_token", ""))
    return [number for number in dict.fromkeys([first, *ends]) if number is not None]


def _added_around(path: Path, settings: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    """Return the ids that the tokenizer puts before and after every text."""
    tokenizer = read_tokenizer(path.read_text("utf-8"))
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a", add_special_tokens=True).ids
    at = next(start for start in range(len(whole)) if whole[start : start + len(plain)] == plain)
    before, after = whole[:at], whole[at + len(plain) :]
    bos = tokenizer.token_to_id(settings.get("bos_token", ""))
    if not before and settings.get("add_bos_token") is True and bos is not None:
        before = [bos]
    return before, after


def _settings(folder: Path) -> dict[str, Any]:
    """Return tokenizer_config.json, and special_tokens_map.json below it, with special tokens as strings."""
    settings: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        settings |= read_object(folder / name)
    for key, value in settings.items():
        if key.endswith("_token") and isinstance(value, dict):
            settings[key] = value.get("content")
    return {key: value for key, value in settings.items() if value is not None}


def _notes(definition: Mapping[str, Any], tokens: list[str], ends: list[int]) -> list[str]:
    """Return sentences on what llama.cpp does otherwise than this tokenizer."""
    notes = []
    normalizers = {step["type"] for step in steps_of(definition, "normalizer")}
    if "NFC" in normalizers:
        notes.append("The tokenizer composes accents (NFC) and llama.cpp does not: give it texts that are composed.")
    if len(ends) > len(ENDS):
        left_out = ", ".join(tokens[number] for number in ends[len(ENDS) :])
        notes.append(f"GGUF has room for three ends of a reply; left out: {left_out}.")
    missing = missing_bytes(definition["model"]["vocab"]) if _byte_level(definition) else []
    if missing:
        notes.append(
            f"The vocabulary lacks {len(missing)} of the 256 bytes, which are left out of texts that have them."
        )
    return notes


def takes_space(token: str, name: str) -> bool:
    """Return whether llama.cpp takes the white space behind a special token away, in a model of this name."""
    return _is_named_so(name) and token not in LEAVE_SPACE


def _is_named_so(name: str) -> bool:
    return any(part in name.lower() for part in TAKE_SPACE)


def _require_looked_up(tokens: list[str], name: str, where: str) -> None:
    """Raise UserError where llama.cpp would look a token up by the name of the model, and not find it."""
    missing = [token for token in LOOKED_UP if token not in tokens]
    if _is_named_so(name) and missing:
        raise UserError(
            f"{where} has no token {missing[0]}, without which llama.cpp loads no model that is named like Phi 3: name `{name}` otherwise."
        )


def _space_notes(definition: Mapping[str, Any], name: str) -> list[str]:
    """Return a sentence where llama.cpp treats white space beside special tokens otherwise than the tokenizer."""
    other = []
    for token in definition["added_tokens"]:
        if token["lstrip"] or token["rstrip"] != takes_space(token["content"], name):
            other.append(token["content"])
    if not other:
        return []
    names = " or ".join(TAKE_SPACE)
    return [
        f"llama.cpp takes white space behind special tokens where the model's name has {names} in it; this tokenizer does otherwise"
        f" at {other[0]}, so ids beside it may differ."
    ]


def missing_bytes(vocabulary: Iterable[str]) -> list[str]:
    """Return the letters of bytes that a byte-level vocabulary lacks."""
    return sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(vocabulary))
