"""What people are told about each family, on the report page and the model card.

It imports nothing, so that pages are written without torch, and that an edited sentence trains no model anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from privllm.core.families import CAUSAL, MASKED, SEQ2SEQ


@dataclass(frozen=True)
class FamilyText:
    """One family in words."""

    description: str  # a sentence of the report page
    card: str  # the model card's words behind "A private "
    pipeline_tag: str  # of Hugging Face's metadata
    usage: str  # Python code that asks the loaded `model` with its `tokenizer`


TEXTS = {
    CAUSAL.name: FamilyText(
        description="Reads from left to right and continues.",
        card="causal language model",
        pipeline_tag="text-generation",
        usage='prompt = tokenizer(tokenizer.bos_token + "The", return_tensors="pt")\n'
        "print(tokenizer.decode(model.generate(**prompt, max_new_tokens=50)[0]))",
    ),
    MASKED.name: FamilyText(
        description="Reads in both directions and fills gaps.",
        card="masked language model: it fills gaps, and is the start for classifiers and taggers",
        pipeline_tag="fill-mask",
        usage='text = tokenizer("The " + tokenizer.mask_token + " is", return_tensors="pt")\n'
        'gap = (text["input_ids"][0] == tokenizer.mask_token_id).nonzero()\n'
        "print(tokenizer.decode(model(**text).logits[0, gap[0, 0]].argmax()))",
    ),
    SEQ2SEQ.name: FamilyText(
        description="An encoder and a decoder: reads in both directions, then writes.",
        card="encoder-decoder language model: it writes what belongs into gaps, and is the start for rewriting, answering and summarising",
        pipeline_tag="text2text-generation",
        usage='text = tokenizer("The <extra_id_0> is", return_tensors="pt")\n'
        "print(tokenizer.decode(model.generate(**text, max_new_tokens=20)[0]))",
    ),
}


def describe_families(families: Sequence[str]) -> dict[str, str]:
    """Return the report page's sentence for each family."""
    return {family: TEXTS[family].description for family in families}
