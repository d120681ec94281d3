"""Byte-level BPE vocabulary, learnt on a sample of the training documents (`vocabulary_sample`).

Byte-level BPE is Sennrich et al. 2016 over bytes as in GPT-2 (Radford et al. 2019); HF `tokenizers`
trains it. It has no normaliser: decode(encode(text)) is text, which is asserted on the sample.
Nothing is encoded for training here: see `pack`.
"""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from privllm.core.base_model import NOTE, SCRATCH
from privllm.core.errors import UserError
from privllm.core.params import require
from privllm.core.printable import say
from privllm.core.report import write_json
from privllm.core.special_tokens import (
    ASSISTANT,
    END_OF_TEXT,
    END_OF_TURN,
    MASK,
    PAD,
    PLACEHOLDERS,
    SPECIAL_TOKENS,
    USER,
)
from privllm.core.tables import shards_of
from privllm.engine.store import NO_STORE, Store
from privllm.tokens.chat_template import FOLDED, ROLES_REFUSED, fold
from privllm.tokens.encode import WORDS, Encoder
from privllm.tokens.kept_vocabulary import Kept, fit, kept_for, settings_of
from privllm.tokens.vocabulary_sample import SampleConfig, sample_documents, sample_texts

SMALLEST = 300  # 256 bytes, special tokens, placeholders, and a few merges
LARGEST = 262_144

SYSTEM_TEXT = f"messages[0]['content'] + {FOLDED!a}"
CHAT_TEMPLATE = (
    f"{{{{ bos_token }}}}{fold(SYSTEM_TEXT)}{{% for message in turns %}}"
    f"{{% if message['role'] not in ['user', 'assistant'] %}}{{{{ raise_exception('{ROLES_REFUSED}') }}}}{{% endif %}}"
    "{{ '<|' + message['role'] + '|>' + (system if loop.first else '') + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": SPECIAL_TOKENS[END_OF_TEXT],
    "eos_token": SPECIAL_TOKENS[END_OF_TEXT],
    "pad_token": SPECIAL_TOKENS[PAD],
    "mask_token": SPECIAL_TOKENS[MASK],
    "extra_special_tokens": [SPECIAL_TOKENS[mark] for mark in (USER, ASSISTANT, END_OF_TURN)],
    "clean_up_tokenization_spaces": False,
    "chat_template": CHAT_TEMPLATE,
}

COMPARED_BYTES = 1_000_000  # of the sample are encoded by both libraries and compared


@dataclass
class TokenizerConfig:
    vocabulary: int = 4096  # tokens at most, [300, 262144]; a small corpus may give fewer
    min_frequency: int = 2  # how often a pair must occur in the sample to be merged, [1, 1000000]

    def __post_init__(self) -> None:
        allowed_sizes = f"between {SMALLEST} and {LARGEST} tokens"
        require(SMALLEST <= self.vocabulary <= LARGEST, "tokenizer.vocabulary", allowed_sizes)
        require(1 <= self.min_frequency <= 1_000_000, "tokenizer.min_frequency", "between 1 and 1000000")


def learn_tokenizer(
    cfg: TokenizerConfig,
    sample: Path,
    out: Path,
    store: Store = NO_STORE,
    start: Path | None = None,
    vocabulary: Path | None = None,
    sampled: SampleConfig | None = None,
) -> dict:
    """Write `out/tokenizer.json` and `out/tokenizer_config.json` and return the report.

    The tokenizer is learnt on the SAMPLE files in `sample`, unless `start` (data/start/tokenizer)
    holds one, or `vocabulary` (data/vocabulary) one that was learnt with `cfg` and `sampled`.
    Raises UserError when the sample is empty, or too small to learn from.
    """
    kept = kept_for(vocabulary, settings_of(cfg, sampled)) if vocabulary and sampled else None
    job = (cfg, tuple(shards_of(sample)))
    place = json.loads((start / NOTE).read_text("utf-8"))["start"] if start else SCRATCH
    base_files = tuple(path for path in sorted(start.iterdir()) if path.name != NOTE) if start else ()
    if base_files:
        (report,) = store.map(take_base, [(*job, base_files)], out, "tokenizer")
    elif kept:
        (report,) = store.map(take_kept, [(*job, *kept)], out, "tokenizer")
    else:
        (report,) = store.map(learn, [job], out, "tokenizer")
    return {"start": place} | report


def learn(out: Path, cfg: TokenizerConfig, sample: tuple[Path, ...]) -> dict[str, Any]:
    """Write the tokenizer of a sample, and return the report."""
    texts = _require_texts(sample)
    return _write(out, cfg, train(cfg, texts), texts) | {"kept": False}


def take_base(out: Path, cfg: TokenizerConfig, sample: tuple[Path, ...], base: tuple[Path, ...]) -> dict[str, Any]:
    """Copy the files of a base model's tokenizer, and return the report of what it makes of the sample."""
    texts = _require_texts(sample)
    for path in base:
        shutil.copyfile(path, out / path.name)
    return _measured(out, cfg, texts) | {"kept": False}


def _require_texts(sample: tuple[Path, ...]) -> list[str]:
    """Return the texts of a sample. Raises UserError where there are none."""
    texts = sample_texts(sample)
    if not texts:
        raise UserError(
            "the tokenizer has nothing to learn from: no document with text is in the training split. "
            "Add documents, or lower `split.validation` and `split.test` in params.yaml."
        )
    return texts


def take_kept(
    out: Path, cfg: TokenizerConfig, sample: tuple[Path, ...], tokenizer: Path, documents: Path, bytes_per_token: float
) -> dict[str, Any]:
    """Write a copy of the kept tokenizer (`Kept`), and return the report with how well it fits what is new."""
    ids_and_texts = sample_documents(sample)
    ids, texts = [identifier for identifier, _ in ids_and_texts], [text for _, text in ids_and_texts]
    report = _write(out, cfg, tokenizer.read_text("utf-8"), texts)
    new = fit(Kept(tokenizer, documents, bytes_per_token), Encoder.open(out), ids, texts)
    return report | {"kept": True} | new


def _write(out: Path, cfg: TokenizerConfig, content: str, texts: list[str]) -> dict[str, Any]:
    """Write the files of a tokenizer.json of ours and return what it makes of the sample."""
    (out / "tokenizer.json").write_text(content, "utf-8")
    write_json(out / "tokenizer_config.json", TOKENIZER_CONFIG)
    return _measured(out, cfg, texts)


def _measured(out: Path, cfg: TokenizerConfig, texts: list[str]) -> dict[str, Any]:
    encoder = Encoder.open(out)
    lost: dict[str, Any] = {}
    if encoder.is_lossy:
        token_count, lost = _lost(encoder, texts)
    else:
        token_count = _assert_round_trip(encoder, texts)
    sample_bytes = sum(len(text.encode()) for text in texts)
    return {
        "vocabulary": encoder.reference.get_vocab_size(),
        "sample_documents": len(texts),
        "sample_bytes": sample_bytes,
        "bytes_per_token": round(sample_bytes / token_count, 4),
        "round_trip_documents": len(texts),
    } | lost


def _lost(encoder: Encoder, sample: list[str]) -> tuple[int, dict[str, Any]]:
    """Return the number of tokens, and what a vocabulary that changes a text loses of the sample. A note says it."""
    encoded = encoder.encode(sample)
    token_count = sum(len(tokens) for tokens in encoded)
    unknown = sum(int((tokens == encoder.unknown).sum()) for tokens in encoded)
    returned = sum(encoder.decode(tokens) == text for text, tokens in zip(sample, encoded, strict=True))
    say(
        f"note: this vocabulary changes a text: {returned:,} of {len(sample):,} documents of the sample would come back as they are, and "
        f"{unknown / max(1, token_count):.2%} of the tokens stand for something that it has no word of.",
        err=True,
    )
    return token_count, {"round_trip_documents": returned, "unknown_tokens": unknown}


def train(cfg: TokenizerConfig, sample: list[str]) -> str:
    """Return the tokenizer.json of a byte-level BPE learnt on the texts `sample`.

    The bytes do not depend on the hash seed or the number of threads. Raises UserError when fewer
    than `SMALLEST` tokens could be learnt.
    """
    tokenizer = Tokenizer(models.BPE())
    split_words = pre_tokenizers.Split(Regex(WORDS), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split_words, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=cfg.vocabulary,
        min_frequency=cfg.min_frequency,
        special_tokens=[*SPECIAL_TOKENS, *PLACEHOLDERS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_without_placeholders(sample), trainer)
    vocabulary_size = tokenizer.get_vocab_size()
    if vocabulary_size < SMALLEST:
        raise UserError(
            f"the sample of {len(sample)} training documents gave only {vocabulary_size} tokens, "
            f"fewer than {SMALLEST}: there is too little text. Add documents, or lower "
            "`tokenizer.min_frequency` or raise `sample.megabytes` in params.yaml."
        )
    definition = json.loads(tokenizer.to_str())
    for token in definition["added_tokens"]:
        token["special"] = token["content"] in SPECIAL_TOKENS
    return json.dumps(definition, indent=1, ensure_ascii=False) + "\n"


def _without_placeholders(sample: list[str]) -> Iterator[str]:
    """Yield the text between placeholders, so that no merge is spent on their letters."""
    placeholder = re.compile("|".join(map(re.escape, PLACEHOLDERS)))
    for text in sample:
        yield from placeholder.split(text)


def _assert_round_trip(encoder: Encoder, sample: list[str]) -> int:
    """Assert that decoding gives every text back and that both libraries agree; return the number of tokens."""
    token_count = compared_bytes = 0
    for text, tokens in zip(sample, encoder.encode(sample), strict=True):
        token_count += len(tokens)
        assert encoder.decode(tokens) == text, f"the tokenizer does not give back a text of {len(text)} characters"
        if compared_bytes < COMPARED_BYTES:
            beginning = text[:COMPARED_BYTES]
            _assert_libraries_agree(encoder, beginning)
            compared_bytes += len(beginning.encode())
    return token_count


def _assert_libraries_agree(encoder: Encoder, text: str) -> None:
    (tokens,) = encoder.encode([text])
    assert tokens.tolist() == encoder.reference.encode(text, add_special_tokens=False).ids, (
        "gigatoken and tokenizers disagree"
    )
