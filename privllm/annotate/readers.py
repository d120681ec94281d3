"""Who reads annotations, and of which documents: it takes minutes to make them, and nobody shall wait for what nobody reads.

evaluate    of every family       the test documents, for slices by part of speech and by entity
guide       of the masked family  all, where its masking looks at phrases (`spans`) or parts of speech (`weights_by_pos`)
tasks       of the kind tokens    all, unless a family that is not built would alone have learnt from it
"""

from collections.abc import Mapping, Sequence
from typing import Any

from privllm.core.families import TRAITS
from privllm.core.split import SPLITS

EVALUATED = ("test",)


def splits_read(
    families: Sequence[str], masking: Mapping[str, Any], derive: Mapping[str, Any] | None, tasks: Mapping[str, Any] | None
) -> tuple[str, ...]:
    """The splits whose annotations something reads, by what stands in params.yaml."""
    guided = any(TRAITS[family].wants_annotations for family in families) and bool(masking.get("spans") or masking.get("weights_by_pos"))
    return SPLITS if guided or any(_learnt(name, families, tasks or {}) for name in _of_annotations(derive or {})) else EVALUATED


def _of_annotations(derive: Mapping[str, Any]) -> list[str]:
    return [name for name, task in derive.items() if task.get("kind") == "tokens"]


def _learnt(name: str, families: Sequence[str], tasks: Mapping[str, Any]) -> bool:
    """Does anybody want the derived task? One that no task of `finetune` names is for a use of the user's own."""
    learners = [task["family"] for task in tasks.values() if task["data"] == f"data/tasks/{name}.jsonl"]
    return not learners or any(family in families for family in learners)
