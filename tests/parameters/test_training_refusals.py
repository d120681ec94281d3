"""What no stage of a build would start with is told by the plan."""

from pathlib import Path

import pytest

from privllm.manage.training_machine import TrainingMachine
from privllm.parameters.training_refusals import refusals
from tests.parameters.test_memory_needs import project, set_params  # noqa: F401

MACHINE = TrainingMachine("this machine", 24 << 30, False)
CARD = TrainingMachine("this card", 80 << 30, True)


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        ("train", {"devices": 100}, "a step has 8 rows, too few for 100 processes"),
        ("train", {"accelerator": "cuda"}, "torch finds no GPU here"),
        ("pretrain.causal", {"weights": "nf4"}, "is for weights that do not learn"),
        ("pretrain.causal", {"weights": "bf16"}, "needs `optimizer: adamw8`"),
    ],
)
def test_what_a_stage_would_refuse_is_said(project: Path, section: str, values: dict, words: str) -> None:  # noqa: F811
    assert refusals(["pretrain@causal"], MACHINE) == []
    set_params(project, section, values)
    [note] = refusals(["pretrain@causal"], MACHINE)
    assert note.startswith("refused: pretrain@causal will not start: ")
    assert words in note


def test_what_goes_together_is_taken(project: Path) -> None:  # noqa: F811
    set_params(project, "train", {"accelerator": "cuda"})
    set_params(project, "pretrain.causal", {"weights": "bf16", "optimizer": "adamw8"})
    assert refusals(["pretrain@causal", "collect"], CARD) == []
