"""A batch is the sum of its rows: padding counts nowhere, whatever the family and kind."""

import numpy as np
import pytest
import torch

from privllm.models.task_heads import CLASSES, open_model
from privllm.models.vocabulary import IGNORED
from privllm.train.batches import fill
from privllm.train.example_encoding import Encoded
from privllm.train.finetune_objectives import Supervised, objective_for
from tests.train.tiny_tasks import MODELS, make_start, tiny

VOCABULARY = 64


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> dict:
    root = tmp_path_factory.mktemp("starts")
    return {family: make_start(family, root / family, VOCABULARY) for family in MODELS}


def examples(kind: str, family: str) -> list[Encoded]:
    rng = np.random.default_rng(0)
    made = []
    for length in (3, 9, 5, 14):
        inputs = rng.integers(6, VOCABULARY, length)
        if kind == "classification":
            labels = rng.integers(0, 3, 1)
        elif family == "seq2seq":
            labels = rng.integers(6, VOCABULARY, length // 2)
        else:
            labels = np.where(rng.random(length) < 0.5, rng.integers(0, 3, length), IGNORED)
            labels[-1] = 1
        made.append(Encoded(inputs, labels, inputs))
    return made


def objective(starts: dict, kind: str, family: str) -> Supervised:
    model = open_model(
        kind, family, starts[family], ("a", "b", "c") if kind in ("classification", "tokens") else (), seed=0
    )
    # Blocks begin as the identity: without this no token would look at another.
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return objective_for(kind, family)(
        model.eval(), tiny(kind, family), examples(kind, family), examples(kind, family), 1, "x"
    )


@pytest.mark.parametrize(("kind", "family"), sorted(CLASSES))
def test_the_loss_of_a_batch_is_the_sum_of_its_rows(starts: dict, kind: str, family: str) -> None:
    of = objective(starts, kind, family)
    rows = [of.make([example]) for example in of.train]
    whole = of.make(of.train)
    assert of.labels(whole) == sum(map(of.labels, rows))
    with torch.no_grad():
        alone = sum(float(of.loss(row, "sum")) for row in rows)
        assert float(of.loss(whole, "sum")) == pytest.approx(alone, rel=1e-5)
        assert float(of.loss(whole)) == pytest.approx(alone / of.labels(whole), rel=1e-5)


def test_batches_are_functions_of_the_step_and_held_out_ones_are_all(starts: dict) -> None:
    of = objective(starts, "classification", "masked")
    assert all(a.equal(b) for a, b in zip(of.batch(5), of.batch(5), strict=True))
    assert sum(of.labels(batch) for batch in of.held_out()) == 4


def test_fill() -> None:
    assert fill([np.array([5]), np.array([6, 7])], 1).tolist() == [[5, 1], [6, 7]]
