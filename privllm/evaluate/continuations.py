"""Greedy continuations of held-out documents, to be compared with what really follows (`stats.text_overlap`).

Low figures are normal: there are many right continuations and one reference.
"""

from collections.abc import Mapping, Sequence

from transformers import PreTrainedModel

from privllm.core.progress import bar
from privllm.core.special_tokens import SpecialIds
from privllm.models.generate import SamplingConfig, generate

Continuation = tuple[list[int], list[int]]  # what the model wrote, what follows in the document


def continuations(
    model: PreTrainedModel,
    special: SpecialIds,
    documents: Mapping[str, Sequence[int]],
    prompt: int,
    length: int,
) -> dict[str, Continuation]:
    """Return, by document, up to `length` tokens after its first `prompt`: from the model (greedy) and from the document."""
    written: dict[str, Continuation] = {}
    with bar("continue", total=len(documents)) as advance:
        for identifier, tokens in documents.items():
            expected = list(tokens[prompt : prompt + length])
            cfg = SamplingConfig(max_new_tokens=len(expected), temperature=0.0)
            output = generate(model, [special.begin, *tokens[:prompt]], cfg, special)
            written[identifier] = (output, expected)
            advance()
    return written
