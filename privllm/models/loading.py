"""The models of every family by name: building a fresh one, and loading one from a folder.

Nothing is ever downloaded, no pickle is opened, and no code that lies beside a model is run.
"""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedModel

from privllm.core.errors import UserError
from privllm.core.special_tokens import SpecialIds
from privllm.models.attention import FUSED_CAUSAL
from privllm.models.causal import CAUSAL_MODEL
from privllm.models.masked import MASKED_MODEL, first_position
from privllm.models.seq2seq import SEQ2SEQ_MODEL

LIMITS = ("max_position_embeddings", "n_positions")  # what a configuration may call the longest text
MODELS = {model.name: model for model in (CAUSAL_MODEL, MASKED_MODEL, SEQ2SEQ_MODEL)}


def build(family: str, cfg: Any, ids: SpecialIds, context: int, seed: int) -> PreTrainedModel:
    """Return a fresh model for the vocabulary `ids` and `context` tokens, in fp32; `cfg` is the family's own dataclass."""
    return MODELS[family].build(cfg, ids, context, seed)


def load(family: str, folder: Path) -> PreTrainedModel:
    """Return the model in `folder`, in fp32 and eval mode, on the CPU.

    Raises UserError when there is none, or one of another family.
    """
    return read_weights(MODELS[family].auto_class, family, folder, config_of(folder)).eval()


def config_of(folder: Path) -> Any:
    """Return transformers' configuration of the model in `folder`. Raises UserError when there is none, or it contradicts itself."""
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise UserError(
            f"{folder} holds no trained model (config.json, model.safetensors): run `dvc repro pretrain`, or name another folder."
        )
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever transformers raises of a configuration
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"transformers cannot read {folder / 'config.json'}: {reason}") from error


def dtype_of(folder: Path) -> torch.dtype:
    """Return the precision of the weights in `folder`, as its config.json says: fp32 where there is none."""
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    name = config.get("dtype") or config.get("torch_dtype") or "float32"
    dtype = getattr(torch, str(name), torch.float32)
    return dtype if isinstance(dtype, torch.dtype) and dtype.is_floating_point else torch.float32


def context_of(config: Any) -> int:
    """Return how many tokens the model was made to see at once."""
    for key in LIMITS:
        if context := getattr(config, key, None):
            return context - first_position(config)
    raise AssertionError("a model of every family has a limit")


def attention_of(family: str, config: Any) -> dict[str, str]:
    """Return the option that gives a model our attention, or {} where `attention` does not support it."""
    if config.model_type in MODELS[family].fused_attention:
        return {"attn_implementation": FUSED_CAUSAL}
    if getattr(config, "attn_logit_softcapping", None):
        return {"attn_implementation": "eager"}  # fast kernels leave the cap out
    return {}


def read_weights(auto_class: Any, family: str, folder: Path, config: Any, whole: bool = False) -> PreTrainedModel:
    """Return the model in `folder` as `auto_class` makes it of `config`, in fp32.

    Raises UserError for one of another family, and with `whole` for one that lacks weights, which would be random.
    """
    try:
        model, loading_info = auto_class.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype="float32",
            output_loading_info=True,
            **attention_of(family, config),
        )
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{folder} holds a {config.model_type} model, which is not of the {family} family: {reason}"
        ) from error
    missing = sorted(loading_info["missing_keys"])
    if whole and missing:
        raise UserError(
            f"{folder} lacks {len(missing)} of its model's weights, {missing[0]} among them: take a folder that has all of them."
        )
    return model
