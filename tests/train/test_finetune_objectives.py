"""A batch is the sum of its rows: padding counts nowhere, whatever the family and kind."""

from pathlib import Path

import numpy as np
import pytest
import torch

from privllm.models.task_heads import CLASSES, open_model
from privllm.models.vocabulary import IGNORED
from privllm.train.batches import fill
from privllm.train.example_encoding import Encoded
from privllm.train.finetune_objectives import Supervised, objective_for
from tests.foreign import random_model
from tests.train.tiny_tasks import MODELS, make_start, make_tokenizer, tiny

VOCABULARY = 64


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> dict:
    root = tmp_path_factory.mktemp("starts")
    tokenizer = make_tokenizer(root / "tokenizer")
    return {family: make_start(family, root / family, tokenizer) for family in MODELS}


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
        kind, family, starts[family], ("a", "b", "c") if kind in ("classification", "tokens") else (), pad=1, seed=0
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


@pytest.mark.parametrize("declared", [None, 3])
def test_a_classifier_over_a_base_that_names_another_padding_pools_no_padding(
    tmp_path: Path, declared: int | None
) -> None:
    """Each text by itself, as transformers does it without padding, is the oracle."""
    random_model("llama", pad_token_id=declared).save_pretrained(tmp_path)
    pad = 7  # of the tokenizer
    model = open_model("classification", "causal", tmp_path, ("a", "b", "c"), pad, seed=0).eval()
    texts = [np.array(ids) for ids in ([20, 21, 22, 23, 24, 25], [30, 31], [40, 3, 41])]
    rows = [Encoded(ids, np.array([0]), ids) for ids in texts]
    of = objective_for("classification", "causal")(model, tiny("classification", "causal"), rows, rows, pad, "x")
    with torch.no_grad():
        together = of.logits(of.make(rows))[0]
        alone = torch.stack(
            [model.score(model.model(torch.tensor(ids)[None]).last_hidden_state[0, -1]) for ids in texts]
        )
    assert together.allclose(alone, atol=1e-5)
