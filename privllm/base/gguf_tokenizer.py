"""The tokenizer of a GGUF file as the files that transformers and the build read.

transformers converts GGUF tokenizers too, but leaves out how text is split into words, so that a model of SmolLM2 reads numbers in other
tokens than it was taught. Here the split follows from the name that llama.cpp knows it by (`export.gguf_vocabulary`).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from privllm.core.errors import UserError
from privllm.core.report import write_json
from privllm.export.gguf_vocabulary import ENDS, PREFIX, SPLITS, Kind, takes_space
from privllm.tokens.chat_template import FILE as TEMPLATE
from privllm.tokens.encode import SPACE

SAME_SPLIT = {  # {other names that llama.cpp has for a split that is known here: that one}
    "llama3": "llama-bpe",
    "llama-v3": "llama-bpe",
    "dbrx": "smaug-bpe",
    "deepseek-r1-qwen": "qwen2",
    "starcoder": "smollm",
}
ROLES = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown", "mask_token": "mask"}
ADDS_BOS = ("llama-bpe", "default")  # where the file does not say whether a text begins with one


def write_tokenizer(values: Mapping[str, Any], out: Path, where: str) -> list[int]:
    """Write tokenizer.json, tokenizer_config.json and the chat template; return the ids that end a text or a reply.

    `values` are those of the GGUF file. Raises UserError for a tokenizer that is not known here.
    """
    tokens: list[str] = values.get(f"{PREFIX}tokens") or []
    kind = values.get(f"{PREFIX}model")
    if not tokens or kind not in ("gpt2", "llama"):
        raise UserError(
            f"{where} has a tokenizer of the kind `{kind}`; only byte-level and sentencepiece BPE are read."
        )
    if len(set(tokens)) < len(tokens):
        twice = next(token for number, token in enumerate(tokens) if token in tokens[:number])
        raise UserError(f"{where} has the token {twice!r} twice, so its ids cannot be kept.")
    kinds = list(values.get(f"{PREFIX}token_type") or [Kind.NORMAL] * len(tokens))
    split = values.get(f"{PREFIX}pre", "default")
    split = SAME_SPLIT.get(split, split)
    definition = _byte_level(values, split, where) if kind == "gpt2" else _pieces(values)
    special_ids = {role: values.get(f"{PREFIX}{name}_token_id") for role, name in ROLES.items()}
    named = {
        role: tokens[number] for role, number in special_ids.items() if number is not None and number < len(tokens)
    }
    begins = values.get(f"{PREFIX}add_bos_token", split in ADDS_BOS)
    around = (named.get("bos_token") if begins else None, _end(values, named))
    definition |= {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added(tokens, kinds, str(values.get("general.name", ""))),
        "post_processor": _around(*around, tokens) if any(around) else None,
    }
    definition["model"]["vocab"] = _vocabulary(tokens, kinds)
    _require_sound(definition, where)
    write_json(out / "tokenizer.json", definition)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **named}
    write_json(out / "tokenizer_config.json", settings)
    template = values.get("tokenizer.chat_template")
    if template:
        (out / TEMPLATE).write_text(template, "utf-8")
    ends = [values.get(f"{PREFIX}{end}_token_id") for end in ENDS]
    return [number for number in dict.fromkeys(ends) if number is not None and number < len(tokens)]


def _byte_level(values: Mapping[str, Any], split: str, where: str) -> dict[str, Any]:
    """Return the parts of a byte-level BPE whose words are split as llama.cpp does by this name."""
    found = [key for key, name in SPLITS.items() if name == split]
    if not found:
        known = ", ".join(sorted({*SPLITS.values(), *SAME_SPLIT}))
        raise UserError(f"{where} splits text into words as `{split}` does, which is not known here (known: {known}).")
    ((steps, ignores_merges),) = found
    written = [_step(kind, value) for kind, value in steps]
    model = _model(values.get(f"{PREFIX}merges") or []) | {"ignore_merges": ignores_merges}
    to_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": written} if len(written) > 1 else written[0],
        "decoder": to_bytes,
        "model": model,
    }


def _step(kind: str, value: Any) -> dict[str, Any]:
    """Return a step of the split, as tokenizer.json has it."""
    if kind == "Split":
        return {"type": kind, "pattern": {"Regex": value}, "behavior": "Isolated", "invert": False}
    if kind == "Digits":
        return {"type": kind, "individual_digits": value}
    return {"type": kind, "add_prefix_space": False, "trim_offsets": True, "use_regex": value}


def _pieces(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a sentencepiece BPE, whose merges follow from the scores of the tokens."""
    tokens, scores = values[f"{PREFIX}tokens"], values.get(f"{PREFIX}scores") or []
    adds_space = values.get(f"{PREFIX}add_space_prefix", True)
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    prepend = [{"type": "Prepend", "prepend": SPACE}] if adds_space else []
    decoders: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if adds_space:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    model = _model(merges_of(tokens, scores)) | {"byte_fallback": True, "fuse_unk": True}
    unknown = values.get(f"{PREFIX}unknown_token_id")
    if unknown is not None and unknown < len(tokens):
        model["unk_token"] = tokens[unknown]
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*prepend, replace]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": model,
    }


def merges_of(tokens: Sequence[str], scores: Sequence[float]) -> list[str]:
    """Return the merges of a sentencepiece BPE: all ways to make a token of two others, those of high scores first."""
    ids = {token: number for number, token in enumerate(tokens)}
    merges = []
    for number, score in enumerate(scores):
        token = tokens[number]
        for at in range(1, len(token)):
            left, right = ids.get(token[:at]), ids.get(token[at:])
            if left is not None and right is not None:
                merges.append((-score, number, left, right))
    return [f"{tokens[left]} {tokens[right]}" for _, _, left, right in sorted(merges)]


def _model(merges: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "merges": list(merges),
    }


def _vocabulary(tokens: Sequence[str], kinds: Sequence[int]) -> dict[str, int]:
    """Return {token: id} without the rows that no text becomes."""
    return {token: number for number, token in enumerate(tokens) if kinds[number] != Kind.UNUSED}


def _added(tokens: Sequence[str], kinds: Sequence[int], name: str) -> list[dict[str, Any]]:
    """Return the tokens that are found in a text before it is split; `name` is the model's."""
    plain = {"single_word": False, "lstrip": False, "normalized": False}
    added = []
    for number, token in enumerate(tokens):
        if kinds[number] in (Kind.CONTROL, Kind.UNKNOWN, Kind.USER_DEFINED):
            is_special = kinds[number] != Kind.USER_DEFINED
            rest = {"rstrip": takes_space(token, name), "special": is_special}
            added.append({"id": number, "content": token, **plain, **rest})
    return added


def _end(values: Mapping[str, Any], named: Mapping[str, str]) -> str | None:
    """Return the token that is put behind every text; None where there is none."""
    return named.get("eos_token") if values.get(f"{PREFIX}add_eos_token") else None


def _around(begin: str | None, end: str | None, tokens: Sequence[str]) -> dict[str, Any]:
    """Return the step that puts tokens around a text."""

    def around(text: str, number: int) -> list[dict[str, Any]]:
        marks = [{"SpecialToken": {"id": token, "type_id": number}} if token else None for token in (begin, end)]
        steps = [marks[0], {"Sequence": {"id": text, "type_id": number}}, marks[1]]
        return [step for step in steps if step]

    named = sorted({token for token in (begin, end) if token})
    return {
        "type": "TemplateProcessing",
        "single": around("A", 0),
        "pair": [*around("A", 0), *around("B", 1)],
        "special_tokens": {token: {"id": token, "ids": [tokens.index(token)], "tokens": [token]} for token in named},
    }


def _require_sound(definition: Mapping[str, Any], where: str) -> None:
    """Raise UserError unless `tokenizers` reads the definition and gives every token its id."""
    try:
        tokenizer = Tokenizer.from_str(json.dumps(definition))
    except Exception as error:  # whatever it raises of merges and tokens that contradict each other
        raise UserError(f"{where} has a tokenizer that contradicts itself: {error}.") from error
    for token, number in definition["model"]["vocab"].items():
        if tokenizer.token_to_id(token) != number:
            raise UserError(f"{where} has the token {token!r} under an id that cannot be kept.")
