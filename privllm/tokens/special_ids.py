"""What the special tokens of a tokenizer are for, whosever it is: read from the files of a Hugging Face folder.

    ours         begin = end = <|endoftext|>   pad <|pad|>   mask <|mask|>
    Llama 2      begin <s>                     end </s>      pad = end
    SmolLM2      begin = end = <|endoftext|>, though an answer ends with <|im_end|>
    BERT         begin [CLS]                   end [SEP]     pad [PAD]   mask [MASK]

A document begins with what the tokenizer itself puts before a text, and with its end where it puts nothing.
"""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from privllm.core.errors import UserError
from privllm.core.special_tokens import END_OF_TEXT, MASK, PAD, SENTINELS, SPECIAL_TOKENS, SpecialIds

FILE = "tokenizer.json"
SETTINGS = ("special_tokens_map.json", "tokenizer_config.json")  # the later one goes before
BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # how sentencepiece names a byte of a character that it has no token for
SENTINEL = re.compile(r"<extra_id_(\d+)>")
# The end of a document in vocabularies of others, best first. An instruction-tuned model's eos ends a turn, so these
# go before it.
ENDS = (SPECIAL_TOKENS[END_OF_TEXT], "<|end_of_text|>", "<|end\u2581of\u2581sentence|>")
LATER_ENDS = ("</s>", "<eos>", "[SEP]")
MASKS = ("[MASK]", "<mask>")
PADS = ("[PAD]", "<pad>")


def special_ids(folder: Path) -> SpecialIds:
    """Return the special ids of the tokenizer in `folder`. Raises UserError where there is none, or it names no end of a text."""
    file = folder / FILE
    if not file.is_file():
        raise UserError(f"{file} is missing: run `dvc repro tokenizer` first.")
    return find_special_ids(file.read_text("utf-8"), names_in(folder), str(file))


def read_tokenizer(tokenizer_json: str) -> Tokenizer:
    """Return the tokenizer of a file, special tokens included. It neither cuts a text nor fills it up, whatever length the file names."""
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def find_special_ids(tokenizer_json: str, names: Mapping[str, str], where: str) -> SpecialIds:
    """Return the special ids of a tokenizer.json.

    `names` are its special tokens by role ("eos_token"), `where` is its name in an error.
    """
    tokenizer = read_tokenizer(tokenizer_json)
    ids = tokenizer.get_vocab(with_added_tokens=True)
    size = 1 + max(ids.values())
    eos = names.get("eos_token", "")
    added = tokenizer.get_added_tokens_decoder()
    marks = {token.content: number for number, token in added.items() if token.special}
    end = _first_in(marks, ENDS)  # of these alone: RoBERTa has GPT-2's mark as an ordinary word
    if end is None:
        end = _first_in(ids, (eos, *LATER_ENDS, *ENDS))
    if end is None:
        raise UserError(
            f"{where} names no token that ends a text (`eos_token` in tokenizer_config.json), so documents could not be told apart."
        )
    special = {number for number, token in added.items() if token.special and not BYTE.fullmatch(token.content)} | {end}
    # Some name an ordinary word ("!"): a row's padding would then be text, and a reply end at that word.
    no_text = {name: number for name, number in ids.items() if number in special}
    pad = _first_in(no_text, (SPECIAL_TOKENS[PAD], names.get("pad_token", ""), *PADS))
    return SpecialIds(
        size=size,
        begin=_put_before(tokenizer, special, end),
        end=end,
        pad=end if pad is None else pad,
        mask=_first_in(ids, (SPECIAL_TOKENS[MASK], names.get("mask_token", ""), *MASKS)),
        special=tuple(sorted(special)),
        sentinels=_sentinels(ids, size),
    )


def names_in(folder: Path) -> dict[str, str]:
    """Return the special tokens of a folder by their role: {"eos_token": "</s>"}."""
    settings: dict[str, Any] = {}
    for name in SETTINGS:
        path = folder / name
        settings |= read_object(path)
    return roles_of(settings)


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; {} where there is no file. Raises UserError for anything else."""
    try:
        value = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    except ValueError as error:  # UnicodeDecodeError too
        raise UserError(f"{path} is not valid JSON ({error}).") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} should hold a JSON object.")
    return value


def roles_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the special tokens that settings of a tokenizer name, by their role."""
    names = {}
    for role, value in settings.items():
        token = value.get("content") if isinstance(value, dict) else value
        if role.endswith("_token") and isinstance(token, str) and token:
            names[role] = token
    return names


def _put_before(tokenizer: Tokenizer, special: Collection[int], end: int) -> int:
    """Return the special token that the tokenizer puts before a text; `end` where it puts none."""
    first = tokenizer.encode("a").ids[:1]
    return first[0] if first and first[0] in special else end


def _sentinels(ids: Mapping[str, int], size: int) -> tuple[int, ...]:
    """Return the ids of <extra_id_0>, <extra_id_1> and so on; those that the tokenizer lacks follow its last id."""
    numbered = {}
    for name, number in ids.items():
        if match := SENTINEL.fullmatch(name):
            numbered[int(match[1])] = number
    own = [number for _, number in sorted(numbered.items())]
    return (*own, *range(size, size + SENTINELS - len(own)))


def _first_in(ids: Mapping[str, int], names: tuple[str, ...]) -> int | None:
    """Return the id of the first of these names that has one."""
    for name in names:
        if name in ids:
            return ids[name]
    return None
