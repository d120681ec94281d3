"""The three families by name: what each is built from, and how a folder that holds one is loaded.

causal     reads left to right and continues        AutoModelForCausalLM
masked     reads both ways and fills gaps           AutoModelForMaskedLM
seq2seq    reads both ways, then writes             AutoModelForSeq2SeqLM

Nothing is ever downloaded, no pickle is opened, and no code that lies beside a model is run.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, PreTrainedModel

from privllm.core.errors import UserError
from privllm.models.attention import CAUSAL
from privllm.models.causal import build_causal
from privllm.models.masked import build_masked
from privllm.models.seq2seq import build_seq2seq

BUILDERS: dict[str, Callable[[Any, int, int, int], PreTrainedModel]] = {
    "causal": build_causal,
    "masked": build_masked,
    "seq2seq": build_seq2seq,
}
CLASSES = {"causal": AutoModelForCausalLM, "masked": AutoModelForMaskedLM, "seq2seq": AutoModelForSeq2SeqLM}
FAMILIES = tuple(CLASSES)
OURS = {"qwen3"}  # architectures that `attention` serves: no sliding windows, no biases


def build(family: str, cfg: Any, vocabulary: int, context: int, seed: int) -> PreTrainedModel:
    """A fresh model of the family for `vocabulary` ids and `context` tokens, in fp32; `cfg` is the family's own dataclass."""
    return BUILDERS[family](cfg, vocabulary, context, seed)


def load(family: str, folder: Path) -> PreTrainedModel:
    """The model in `folder`, in fp32 and eval mode, on the CPU. Raises UserError when there is none, or one of another family."""
    return read_weights(CLASSES[family], family, folder, config_of(folder)).eval()


def config_of(folder: Path) -> Any:
    """transformers' configuration of the model in `folder`. Raises UserError when there is none."""
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise UserError(
            f"{folder} holds no trained model (config.json, model.safetensors): run `dvc repro pretrain`, or name another folder."
        )
    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def context_of(config: Any) -> int:
    """Tokens that the model was made to see at once."""
    return next(getattr(config, key) for key in ("max_position_embeddings", "n_positions") if getattr(config, key, None))


def attention_of(family: str, config: Any) -> dict[str, str]:
    """The option that gives a model our attention, where it is one that `attention` serves."""
    return {"attn_implementation": CAUSAL} if family == "causal" and config.model_type in OURS else {}


def read_weights(auto: Any, family: str, folder: Path, config: Any, whole: bool = False) -> PreTrainedModel:
    """The model in `folder` as the Auto class `auto` makes it of `config`, in fp32.

    Raises UserError for one of another family, and with `whole` for one that lacks weights, which would be made up.
    """
    try:
        model, found = auto.from_pretrained(
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
        what = str(error).splitlines()[0]
        raise UserError(f"{folder} holds a {config.model_type} model, which is not of the {family} family: {what}") from error
    missing = sorted(found["missing_keys"])
    if whole and missing:
        raise UserError(
            f"{folder} lacks {len(missing)} of its model's weights, {missing[0]} among them: take a folder that has all of them."
        )
    return model
