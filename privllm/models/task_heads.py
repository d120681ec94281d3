"""Models to be fine-tuned: a pretrained folder with the head that a kind of task needs.

classification   masked, causal     one label for a text: transformers' *ForSequenceClassification
tokens           masked             one label for each token: *ForTokenClassification
text2text, chat  causal, seq2seq    the language model as it is

A head's new matrices are initialised from the seed alone. With `fresh` the rest is too, as pretraining would begin: what a pretrained
start is compared with. Nothing is downloaded, no pickle opened, no code beside a model run.
"""

import json
from pathlib import Path

import torch
import transformers
from omegaconf import OmegaConf
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from privllm.core.seed import seed_of
from privllm.core.special_tokens import PAD
from privllm.models.causal import CausalConfig
from privllm.models.family import attention_of, build, config_of, context_of, read_weights
from privllm.models.masked import MaskedConfig
from privllm.models.seq2seq import SENTINELS, Seq2SeqConfig

CLASSES = {
    ("classification", "masked"): AutoModelForSequenceClassification,
    ("classification", "causal"): AutoModelForSequenceClassification,
    ("tokens", "masked"): AutoModelForTokenClassification,
    ("text2text", "causal"): AutoModelForCausalLM,
    ("text2text", "seq2seq"): AutoModelForSeq2SeqLM,
    ("chat", "causal"): AutoModelForCausalLM,
}
CONFIGS = {"causal": CausalConfig, "masked": MaskedConfig, "seq2seq": Seq2SeqConfig}


def open_model(kind: str, family: str, folder: Path, labels: tuple[str, ...], seed: int, fresh: bool = False) -> PreTrainedModel:
    """The model in `folder`, in fp32 on the CPU, to be trained; `labels` name what its head tells apart.

    Raises UserError when the folder holds no model, or one of another family.
    """
    transformers.utils.logging.set_verbosity_error()  # that a head is new is no news
    transformers.utils.logging.disable_progress_bar()
    config = config_of(folder)
    if labels:
        config.num_labels, config.id2label = len(labels), dict(enumerate(labels))
        config.label2id = {label: number for number, label in enumerate(labels)}
    if config.pad_token_id is None:
        config.pad_token_id = PAD
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("head", seed))
        auto = CLASSES[kind, family]
        if fresh:
            model = _fresh(auto.from_config(config, **attention_of(family, config)), family, folder, seed)
        else:
            model = read_weights(auto, family, folder, config)
    return model.train()


def _fresh(model: PreTrainedModel, family: str, folder: Path, seed: int) -> PreTrainedModel:
    """A model of ours gets the weights that its pretraining began with; a stranger keeps transformers' own initialisation."""
    facts = folder / "training.json"
    known = json.loads(facts.read_text("utf-8")).get("config", {}).get("model") if facts.is_file() else None
    if known is None:
        return model
    cfg = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(CONFIGS[family]), known))
    vocabulary = model.config.vocab_size - (SENTINELS if family == "seq2seq" else 0)
    begun = build(family, cfg, vocabulary, context_of(model.config), seed)
    _, unexpected = model.load_state_dict(begun.state_dict(), strict=False)
    assert len(unexpected) < len(begun.state_dict()) / 2, "the model in training.json is another one"
    return model
