"""Tiny models and tokenizers as other people make them: transformers' own classes, without any of our special tokens."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, PreTrainedModel

TEXTS = [
    "The committee met on Tuesday and read the report. It was agreed.",
    "def valve(x):\n    return x + 1  # café",
    "naïve 12 façades",
]
BERT_NAMES = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
NAMES = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
CONFIGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "causal": (
        AutoModelForCausalLM,
        {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    ),
    "masked": (
        AutoModelForMaskedLM,
        {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    ),
    "seq2seq": (AutoModelForSeq2SeqLM, {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4}),
}


SIZES = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 3}
ARCHITECTURES: dict[str, tuple[Any, dict[str, Any]]] = {  # that a task may start from
    "bert": (AutoModelForMaskedLM, SIZES | {"intermediate_size": 64}),
    "distilbert": (AutoModelForMaskedLM, {"dim": 32, "n_heads": 4, "n_layers": 3, "hidden_dim": 64}),
    "gpt2": (AutoModelForCausalLM, {"n_embd": 32, "n_head": 4, "n_layer": 3, "n_positions": 64}),
    "llama": (AutoModelForCausalLM, SIZES | {"intermediate_size": 64, "num_key_value_heads": 2}),
    "t5": (AutoModelForSeq2SeqLM, {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}),
}


def random_model(kind: str, **more: Any) -> PreTrainedModel:
    """A language model of an architecture, as its class initialises it from a seed."""
    auto, shape = ARCHITECTURES[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return auto.from_config(AutoConfig.for_model(kind, vocab_size=340, **shape, **more))


def foreign_tokenizer(
    specials: Iterable[str] = ("<s>", "</s>", "<unk>"),
    texts: Iterable[str] = TEXTS,
    size: int = 340,
    before_text: bool = True,
) -> str:
    """tokenizer.json of a byte-level BPE in GPT-2's way, `specials` first, of which the first is put before every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(specials),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if before_text:
        first = next(iter(specials))
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{first} $A", special_tokens=[(first, 0)])
    return tokenizer.to_str()


def sentencepiece_tokenizer(texts: Iterable[str] = TEXTS, prepend: bool = True) -> str:
    """tokenizer.json as Llama 2 has it: BPE over characters, a token for every byte, "▁" for a space and before a text."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    replace = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if prepend else replace
    strip = [decoders.Strip(" ", 1, 0)] if prepend else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    # Sentencepiece's byte tokens are no special tokens, so they are put into the vocabulary by hand.
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=["<s>", "</s>", "<unk>"], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    definition = json.loads(tokenizer.to_str())
    vocabulary = definition["model"]["vocab"]
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return tokenizer.to_str()


def roberta_tokenizer() -> str:
    """tokenizer.json as RoBERTa's is: GPT-2's bytes, and a mark before and behind a text."""
    tokenizer = Tokenizer.from_str(foreign_tokenizer(("<s>", "<pad>", "</s>", "<unk>", "<mask>")))
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer.to_str()


def wordpiece_tokenizer(texts: Iterable[str] = TEXTS) -> str:
    """tokenizer.json as BERT's is: small letters without accents, pieces that go on with a word, a token for what there is none of."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=340, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer.to_str()


def unigram_tokenizer(texts: Iterable[str] = TEXTS) -> str:
    """tokenizer.json as T5's is: the likeliest pieces, one blank for several, "</s>" behind a text, spans' tokens at the end."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    spans = [f"<extra_id_{number}>" for number in reversed(range(100))]
    trainer = trainers.UnigramTrainer(
        vocab_size=240, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(spans)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer.to_str()


def foreign_model(family: str, kind: str, vocabulary: int, context: int = 64, **more: Any) -> PreTrainedModel:
    """A random model whose every part says something."""
    auto, shape = CONFIGS[family]
    if "num_key_value_heads" in AutoConfig.for_model(kind).to_dict():
        shape = shape | {"num_key_value_heads": 2}
    length = {} if family == "seq2seq" else {"max_position_embeddings": context}
    ids = dict.fromkeys(("bos_token_id", "pad_token_id", "cls_token_id", "sep_token_id"), 0) | {"eos_token_id": 1}
    config = AutoConfig.for_model(kind, vocab_size=vocabulary, **shape, **length, **ids, **more)
    model = auto.from_config(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1 + (parameter.ndim == 1))
    return model.eval()


def save_foreign(
    folder: Path, family: str, kind: str, specials: tuple[str, ...] = ("<s>", "</s>", "<unk>"), **more: Any
) -> PreTrainedModel:
    """A Hugging Face folder of such a model with a tokenizer."""
    text = foreign_tokenizer(specials)
    model = foreign_model(family, kind, Tokenizer.from_str(text).get_vocab_size(), **more)
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(text, "utf-8")
    names = {role: name for role, name in NAMES.items() if name in specials}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(names | {"mask_token": {"__type": "AddedToken", "content": "<mask>"}}), "utf-8"
    )
    return model
