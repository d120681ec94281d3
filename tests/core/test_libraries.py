"""Which libraries a key names, in literals: one that is missing would leave stale results standing, one too many rebuild for nothing."""

from functools import cache

import pytest

from privllm.engine.fingerprint import EXECUTION, PRESENTATION, distributions_below, fingerprint
from tests.workshop import ROOT

STAGES = sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem not in ("__init__", "fingerprint"))
# What decides bytes of a stage's output. Not all of it: what would be missed first.
DECIDES = {
    "collect": {"pyarrow", "charset-normalizer"},
    "clean": {"pyarrow", "resiliparse", "ftfy", "wcwidth", "numpy"},  # the language model's own bytes are checked
    "dedup": {"pyarrow", "numpy", "rensa"},
    "validate": {"pyarrow", "great-expectations", "pandas"},
    "annotate": {"pyarrow", "spacy", "thinc"},  # the packaged pipeline's own bytes are checked
    "tokenizer": {"pyarrow", "tokenizers"},
    "pack": {"pyarrow", "numpy", "gigatoken", "tokenizers"},
    "pretrain": {"torch", "lightning", "transformers", "tokenizers", "safetensors", "numpy"},
    "finetune": {"torch", "lightning", "transformers", "peft"},
    "evaluate": {"torch", "transformers", "sacrebleu"},
    "report": {"jinja2"},
}


@cache
def libraries_of(stage: str) -> set[str]:
    return set(fingerprint(ROOT, f"stages.{stage}")["libraries"])


def test_nothing_else_is_left_out() -> None:
    assert sorted(PRESENTATION) == ["rich", "typer"]
    assert sorted(EXECUTION) == ["ray"]


@pytest.mark.parametrize("stage", STAGES)
def test_what_prints_and_what_says_where_is_in_no_key(stage: str) -> None:
    assert not libraries_of(stage) & {"typer", "rich", "ray"}


@pytest.mark.torch
@pytest.mark.parametrize("stage", DECIDES)
def test_what_decides_bytes_is_in_the_key(stage: str) -> None:
    assert DECIDES[stage] <= libraries_of(stage), DECIDES[stage] - libraries_of(stage)


@pytest.mark.parametrize("module", ["typer", "rich", "ray"])
def test_neither_they_nor_what_only_they_need(module: str) -> None:
    assert distributions_below({module}) == set()
    assert distributions_below({module, "ftfy"}) == {"ftfy", "wcwidth"}
