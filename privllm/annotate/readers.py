"""Readers of annotations: which documents need any, since making them takes minutes.

evaluate    of every family       the validation documents, for slices by part of speech and by entity
guide       of the masked family  all, where its masking looks at phrases (`spans`) or parts of speech (`weights_by_pos`)
tasks       of the kind tokens    all, unless only families that are not built learn from it
"""

from collections.abc import Mapping, Sequence
from typing import Any

from privllm.core.families import TRAITS
from privllm.core.split import SPLITS

EVALUATED = ("validation",)


def splits_read(
    families: Sequence[str],
    masking: Mapping[str, Any],
    derive: Mapping[str, Any] | None,
    tasks: Mapping[str, Any] | None,
) -> tuple[str, ...]:
    """Return the splits whose annotations something reads, according to params.yaml."""
    is_guided = bool(masking.get("spans") or masking.get("weights_by_pos"))
    if is_guided and any(TRAITS[family].wants_annotations for family in families):
        return SPLITS
    for name, derived_task in (derive or {}).items():
        if derived_task.get("kind") == "tokens" and _is_learnt(name, families, tasks or {}):
            return SPLITS
    return EVALUATED


def _is_learnt(name: str, families: Sequence[str], tasks: Mapping[str, Any]) -> bool:
    """Return whether a built family learns the derived task, or no task of `finetune` names it.

    In the second case it is for a use of the user's own.
    """
    data = f"data/tasks/{name}.jsonl"
    learners = [task["family"] for task in tasks.values() if task["data"] == data]
    return not learners or any(family in families for family in learners)
