"""Greedy continuations of held-out documents, compared with what really follows.

BLEU is Papineni et al. 2002 and chrF Popović 2015, both by sacrebleu (Post 2018) with its standard settings (tokeniser 13a,
exponential smoothing), as shares of 1. Low figures are normal: there are many right continuations and one reference.
"""

from collections.abc import Mapping, Sequence

from sacrebleu.metrics import BLEU, CHRF
from transformers import PreTrainedModel

from privllm.core.progress import bar
from privllm.model.generate import SamplingConfig, generate
from privllm.model.special import END_OF_TEXT

Continuation = tuple[list[int], list[int]]  # what the model wrote, what follows in the document
SHORTEST = 8  # tokens that must follow the prompt


def overlap(written: Sequence[str], expected: Sequence[str]) -> dict[str, float]:
    """Corpus BLEU and chrF of `written` against one reference each, in [0, 1]."""
    bleu = BLEU().corpus_score(list(written), [list(expected)]).score
    chrf = CHRF().corpus_score(list(written), [list(expected)]).score
    return {"bleu": round(bleu / 100, 6), "chrf": round(chrf / 100, 6)}


def continuations(model: PreTrainedModel, documents: Mapping[str, Sequence[int]], prompt: int, length: int) -> dict[str, Continuation]:
    """By document: up to `length` tokens after its first `prompt`, from the model (greedy) and from the document."""
    made: dict[str, Continuation] = {}
    with bar("continue", total=len(documents)) as advance:
        for identifier, tokens in documents.items():
            expected = list(tokens[prompt : prompt + length])
            cfg = SamplingConfig(max_new_tokens=len(expected), temperature=0.0)
            made[identifier] = generate(model, [END_OF_TEXT, *tokens[:prompt]], cfg), expected
            advance()
    return made
