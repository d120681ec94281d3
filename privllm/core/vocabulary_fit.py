"""What is said where the kept vocabulary fits new documents badly. (`tokens.kept_vocabulary` finds it.)"""

from collections.abc import Mapping
from typing import Any


def misfit(report: Mapping[str, Any]) -> str | None:
    """Return a sentence, from the report of the stage `tokenizer`; None where there is nothing to say."""
    if report.get("fits", True):
        return None
    return (
        f"it fits the {report['new_documents']:,} new documents of its sample badly, with {report['new_bytes_per_token']:.2f} "
        f"bytes a token where it was learnt on {report['learnt_bytes_per_token']:.2f}. `privllm vocabulary drop` has one learnt anew."
    )
