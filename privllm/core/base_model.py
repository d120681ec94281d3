"""Places where training may begin.

In params.yaml they are `scratch`, `incumbent` (the last promoted model) or `data/base/<name>`.

Nothing is opened here: `tokens.base_models` fetches the named model, `models.base_weights` loads
it.
"""

import re

from privllm.core.params import WrongValue

SCRATCH, INCUMBENT = "scratch", "incumbent"
BASE = re.compile(r"data/base/([^/\\.][^/\\]*)")
NOTE = "start.json"  # in every folder below data/start: what it holds
DOCUMENTS = "documents.parquet"  # beside weights: what they were trained on, see `tokens.trained_documents`


def require_start(value: str, key: str) -> None:
    """Raise a `WrongValue` unless `value` is a place where training may begin; `key` is dotted."""
    if value in (SCRATCH, INCUMBENT) or BASE.fullmatch(value):
        return
    raise WrongValue(
        key,
        f"is `{value}`: it must be `{SCRATCH}`, `{INCUMBENT}` (the last promoted model) or "
        "`data/base/<name>`. Put a model that lies elsewhere below data/base, or the build could not track it: "
        "`cp -r MODEL data/base/<name> && dvc add data/base/<name>`",
    )
