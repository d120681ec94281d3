"""Places where training may begin, as `base` in params.yaml names them.

    base: scratch                  nothing is known at first
    base: incumbent                the last promoted model, of every family that it has
    base: data/base/smollm2        a model of others: the family that it belongs to begins there, the other ones from
                                   scratch, and all of them with its vocabulary
    base: {causal: data/base/smollm2, masked: incumbent, tokenizer: data/base/smollm2}        each by its name

Nothing is opened here: `tokens.base_models` fetches the named model, `models.base_weights` loads it.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from privllm.core.families import TRAITS
from privllm.core.params import WrongValue

SECTION = "base"  # of params.yaml
SCRATCH, INCUMBENT = "scratch", "incumbent"
BASE = re.compile(r"data/base/([^/\\.][^/\\]*)")
NOTE = "start.json"  # in every folder below data/start: what it holds
DOCUMENTS = "documents.parquet"  # beside weights: what they were trained on, see `tokens.trained_documents`
TOKENIZER = "tokenizer"
CODE = "auto_map"  # in config.json, names modules beside the model, which nothing here runs


class Start(NamedTuple):
    """Where one training begins."""

    place: str  # SCRATCH, INCUMBENT or data/base/<name>
    key: str  # of params.yaml that says so
    is_shared: bool = False  # said of all families at once: one that the model is not of begins from scratch


def untrainable(config: Mapping[str, Any], where: str) -> str:
    """Return why no family can train the model of a config.json, without the stop at the end; "" where one can.

    `base add`, the check of params.yaml and the stage `start` say it in the same words.
    """
    kind = config.get("model_type")
    if not any(kind in traits.model_types for traits in TRAITS.values()):
        own_code = " (it needs code that lies beside it, which is never run)" if CODE in config else ""
        known = "; ".join(f"{name}: {', '.join(traits.model_types)}" for name, traits in TRAITS.items())
        return f"{where} holds a {kind} model, which the build cannot train{own_code}; it knows {known}"
    if "quantization_config" in config:
        return f"{where} holds quantized weights, which cannot be trained; take the model that they were made of, or a GGUF file of it"
    return ""


def require_start(value: Any, key: str) -> None:
    """Raise a `WrongValue` unless `value` is a place where training may begin; `key` is dotted."""
    if value in (SCRATCH, INCUMBENT) or (isinstance(value, str) and BASE.fullmatch(value)):
        return
    raise WrongValue(
        key,
        f"is `{value}`: it must be `{SCRATCH}`, `{INCUMBENT}` (the last promoted model) or "
        "`data/base/<name>`. Take in a model that lies elsewhere, or the build could not track it: `privllm base add MODEL`",
    )


def starts_in(sections: Mapping[str, Any], families: Iterable[str]) -> dict[str, Start]:
    """Return where each of `families`, and the TOKENIZER, begins.

    `sections` are those of params.yaml. Raises `WrongValue` for a place that is none, a name that is no family, or two
    vocabularies.
    """
    value = sections.get(SECTION, SCRATCH)
    names = [*families, TOKENIZER]
    if not isinstance(value, dict):
        require_start(value, SECTION)
        return {name: Start(value, SECTION, is_shared=True) for name in names}
    for name, place in value.items():
        if name not in names:
            raise WrongValue(f"{SECTION}.{name}", f"must be one of {', '.join(names)}, or one place for all of them")
        require_start(place, f"{SECTION}.{name}")
    starts = {name: Start(value.get(name, SCRATCH), f"{SECTION}.{name}") for name in names}
    if TOKENIZER in value:
        return starts
    places = {start.place for start in starts.values()} - {SCRATCH}
    if len(places) > 1:
        raise WrongValue(
            SECTION,
            f"names several models ({', '.join(sorted(places))}): say by `{SECTION}.{TOKENIZER}` whose vocabulary all of them use",
        )
    for place in places:
        starts[TOKENIZER] = Start(place, SECTION)
    return starts
