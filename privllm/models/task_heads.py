"""Models to be fine-tuned: a pretrained folder with the head that a kind of task needs.

classification   one label for a text: transformers' *ForSequenceClassification
tokens           one label for each token: *ForTokenClassification
text2text, chat  the language model as it is

Which families can do which kind, `core.families` tells. The new matrices of a head are initialised from the seed
alone. With `fresh` all others are too, as pretraining would begin: what a pretrained start is compared with.
Nothing is downloaded, no pickle opened, no code beside a model run.
"""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from omegaconf import OmegaConf
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, PreTrainedModel

from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.seed import seed_of
from privllm.core.special_tokens import SENTINELS, own_ids
from privllm.models.loading import MODELS, attention_of, build, config_of, context_of, read_weights

HEADS = {"classification": AutoModelForSequenceClassification, "tokens": AutoModelForTokenClassification}


def _auto_classes() -> dict[tuple[str, str], Any]:
    """Return transformers' Auto class for each (kind of task, family) that can be fine-tuned."""
    classes = {}
    for family, traits in TRAITS.items():
        for kind in traits.task_kinds:
            classes[kind, family] = HEADS.get(kind, MODELS[family].auto_class)
    return classes


CLASSES = _auto_classes()


def open_model(
    kind: str,
    family: str,
    folder: Path,
    labels: tuple[str, ...],
    pad: int,
    seed: int,
    fresh: bool = False,
) -> PreTrainedModel:
    """Return the model in `folder`, in fp32 on the CPU, ready for training; `labels` name the classes of its head.

    A head over a causal model looks at a text's last token that is not padding, so its model must know the `pad` that batches have.

    Raises UserError when the folder holds no model, one of another family, or one for which transformers has no such head.
    """
    transformers.utils.logging.set_verbosity_error()  # that a head is new needs no warning
    transformers.utils.logging.disable_progress_bar()
    config = config_of(folder)
    if labels:
        config.num_labels = len(labels)
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: number for number, label in enumerate(labels)}
    pools_last_token = kind == "classification" and TRAITS[family].continues_text
    if pools_last_token or config.pad_token_id is None:
        config.pad_token_id = pad
    auto_class = CLASSES[kind, family]
    if (
        kind in HEADS
        and config.model_type in TRAITS[family].model_types
        and type(config) not in auto_class._model_mapping
    ):
        raise UserError(
            f"{folder}: transformers has no head for {kind} over a {config.model_type} model; take another start."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("head", seed))
        if fresh:
            model = auto_class.from_config(config, **attention_of(family, config))
            _reset_to_initial_weights(model, family, folder, seed)
        else:
            model = read_weights(auto_class, family, folder, config)
    return model.train()


def _reset_to_initial_weights(model: PreTrainedModel, family: str, folder: Path, seed: int) -> None:
    """Give a model of ours the weights that its pretraining began with.

    One that was made elsewhere keeps transformers' own initialisation.
    """
    facts = folder / "training.json"
    if not facts.is_file():
        return
    architecture = json.loads(facts.read_text("utf-8")).get("config", {}).get("model")
    if architecture is None:
        return
    family_model = MODELS[family]
    cfg = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(family_model.config), architecture))
    size = model.config.vocab_size - (SENTINELS if family_model.has_sentinels else 0)
    initial = build(family, cfg, own_ids(size), context_of(model.config), seed).state_dict()
    _, unexpected = model.load_state_dict(initial, strict=False)
    assert len(unexpected) < len(initial) / 2, "the model in training.json is another one"
