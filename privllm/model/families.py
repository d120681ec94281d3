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
from privllm.model.attention import CAUSAL
from privllm.model.causal import build_causal
from privllm.model.masked import build_masked
from privllm.model.seq2seq import build_seq2seq

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
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise UserError(f"{folder} holds no trained model (config.json, model.safetensors): run `dvc repro pretrain` first.")
    kind = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).model_type
    options: dict[str, Any] = {"attn_implementation": CAUSAL} if family == "causal" and kind in OURS else {}
    try:
        model = CLASSES[family].from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype="float32", **options
        )
    except ValueError as error:
        raise UserError(f"{folder} holds a {kind} model, which is not of the {family} family: {str(error).splitlines()[0]}") from error
    return model.eval()
