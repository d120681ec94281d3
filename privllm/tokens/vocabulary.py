"""tokenizer: a byte-level BPE vocabulary, learnt on a sample of the training documents (`sample`).

Byte-level BPE is Sennrich et al. 2016 over bytes as in GPT-2 (Radford et al. 2019); HF `tokenizers` trains it. No
normaliser: decode(encode(text)) is text, which is asserted on the sample. It encodes nothing for training: see `packing`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from privllm.core.base_model import SCRATCH, require_start
from privllm.core.errors import UserError
from privllm.core.params import require
from privllm.core.report import write_json
from privllm.core.tables import shards_of
from privllm.engine.store import NO_STORE, Store
from privllm.tokens.encode import WORDS, Encoder
from privllm.tokens.vocabulary_sample import sample_texts

SPECIALS = ("<|endoftext|>", "<|pad|>", "<|mask|>", "<|user|>", "<|assistant|>", "<|end|>")  # ids 0 ... 5
BOUNDARY, PAD, MASK, USER, ASSISTANT, END = range(len(SPECIALS))
# One token each, so that a model spends one prediction on what is no longer there, and never a made-up half of it.
PLACEHOLDERS = ("<EMAIL>", "<PHONE>", "<IP>", "<CARD>", "<IBAN>", "<CREDENTIAL>", "<KEY>")  # ids 6 ... 12
SMALLEST = 300  # 256 bytes, the tokens above, and a few merges

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] not in ['user', 'assistant'] %}{{ raise_exception('a role is user or assistant') }}{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": SPECIALS[BOUNDARY],
    "eos_token": SPECIALS[BOUNDARY],
    "pad_token": SPECIALS[PAD],
    "mask_token": SPECIALS[MASK],
    "extra_special_tokens": [SPECIALS[USER], SPECIALS[ASSISTANT], SPECIALS[END]],
    "clean_up_tokenization_spaces": False,
    "chat_template": CHAT_TEMPLATE,
}

COMPARED_BYTES = 1_000_000  # of the sample go through both engines


@dataclass
class TokenizerConfig:
    start: str = SCRATCH  # whose vocabulary: scratch (learnt here), incumbent (the last promoted one's), or data/base/<name>
    vocabulary: int = 4096  # tokens at most, [300, 262144]; a small corpus may give fewer
    min_frequency: int = 2  # how often a pair must occur in the sample to be merged, [1, 1000000]

    def __post_init__(self) -> None:
        require_start(self.start, "tokenizer.start")
        require(SMALLEST <= self.vocabulary <= 262_144, "tokenizer.vocabulary", f"between {SMALLEST} and 262144 tokens")
        require(1 <= self.min_frequency <= 1_000_000, "tokenizer.min_frequency", "between 1 and 1000000")


def learn_tokenizer(cfg: TokenizerConfig, sample: Path, out: Path, store: Store = NO_STORE, start: Path | None = None) -> dict:
    """Files of `sample.SAMPLE` to `out/tokenizer.json` and `out/tokenizer_config.json`; returns the report.

    With `start` (data/start/tokenizer) the tokenizer in there, if there is one, is taken instead of learning one.
    Raises UserError when the sample is empty, or too small to learn from.
    """
    given = start / "tokenizer.json" if start else Path()
    (report,) = store.map(learn, [(cfg, tuple(shards_of(sample)), *([given] if given.is_file() else []))], out, "tokenizer")
    return report


def learn(out: Path, cfg: TokenizerConfig, sample: tuple[Path, ...], given: Path | None = None) -> dict[str, Any]:
    """The tokenizer of a sample, or the one that is given; the report."""
    texts = sample_texts(sample)
    if not texts:
        raise UserError(
            "the tokenizer has nothing to learn from: no document with text is in the training split. "
            "Add documents, or lower `split.validation` and `split.test` in params.yaml."
        )
    (out / "tokenizer.json").write_text(given.read_text("utf-8") if given else train(cfg, texts), "utf-8")
    write_json(out / "tokenizer_config.json", TOKENIZER_CONFIG)
    encoder = Encoder.open(out)
    tokens = _assert_round_trip(encoder, texts)
    size = sum(len(text.encode()) for text in texts)
    return {
        "start": cfg.start,
        "vocabulary": encoder.reference.get_vocab_size(),
        "sample_documents": len(texts),
        "sample_bytes": size,
        "bytes_per_token": round(size / tokens, 4),
        "round_trip_documents": len(texts),
    }


def train(cfg: TokenizerConfig, sample: list[str]) -> str:
    """tokenizer.json of a byte-level BPE learnt on `sample`; the same bytes whatever the hash seed or number of threads.

    Raises UserError when fewer than `SMALLEST` tokens could be learnt.
    """
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(WORDS), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=cfg.vocabulary,
        min_frequency=cfg.min_frequency,
        special_tokens=[*SPECIALS, *PLACEHOLDERS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_without_placeholders(sample), trainer)
    learnt = tokenizer.get_vocab_size()
    if learnt < SMALLEST:
        raise UserError(
            f"the sample of {len(sample)} training documents gave only {learnt} tokens, fewer than {SMALLEST}: there is too little text. "
            "Add documents, or lower `tokenizer.min_frequency` or raise `sample.megabytes` in params.yaml."
        )
    parts = json.loads(tokenizer.to_str())
    for token in parts["added_tokens"]:
        token["special"] = token["content"] in SPECIALS
    return json.dumps(parts, indent=1, ensure_ascii=False) + "\n"


def _without_placeholders(sample: list[str]) -> Iterator[str]:
    """What lies between the placeholders: their letters are never seen, so no merge is spent on them."""
    placeholder = re.compile("|".join(map(re.escape, PLACEHOLDERS)))
    for text in sample:
        yield from placeholder.split(text)


def _assert_round_trip(encoder: Encoder, sample: list[str]) -> int:
    """Assert that decoding gives every text back, and that both engines agree; returns the number of tokens."""
    encoded = encoder.encode(sample)
    compared = 0
    for text, tokens in zip(sample, encoded, strict=True):
        assert encoder.decode(tokens) == text, f"the tokenizer does not give back a text of {len(text)} characters"
        if compared < COMPARED_BYTES:
            part = text[:COMPARED_BYTES]
            fast = tokens if len(part) == len(text) else encoder.encode([part])[0]
            assert fast.tolist() == encoder.reference.encode(part).ids, "gigatoken and tokenizers disagree"
            compared += len(part.encode())
    return sum(map(len, encoded))
