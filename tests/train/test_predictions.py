"""Answers in batches are the answers alone, and a judgement adds up."""

import numpy as np
import pytest
import torch
import torch._dynamo.utils

from privllm.core.special_tokens import own_ids
from privllm.models.loading import build
from privllm.tasks.formats import Classified, Example, InputOutput, Tagged
from privllm.tokens.chat_format import Speech
from privllm.tokens.special_ids import special_ids
from privllm.train.example_encoding import Encoded
from privllm.train.finetune_objectives import objective_for
from privllm.train.predictions import HeldOutResults, Limits, as_line, placed, read, write
from tests.train.tiny_tasks import MODELS, make_tokenizer, tiny


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    return make_tokenizer(tmp_path_factory.mktemp("predict") / "tokenizer")


def lively(family: str, vocabulary: int) -> torch.nn.Module:
    """A model whose tokens look at each other, which a fresh one's do not."""
    model = build(family, MODELS[family], own_ids(vocabulary), 32, seed=3)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@pytest.mark.parametrize("family", ["causal", "seq2seq"])
def test_answers_do_not_depend_on_who_is_asked_beside(tokenizer, family: str) -> None:
    speech, rng = Speech(tokenizer), np.random.default_rng(0)
    model = lively(family, special_ids(tokenizer).size)
    asked = [Encoded(ids, ids, ids) for ids in (rng.integers(13, 300, n) for n in (2, 11, 5, 7))]
    together = write(model, asked, speech, Limits(4, 4, 6))
    assert together == [write(model, [question], speech, Limits(1, 1, 6))[0] for question in asked]
    assert len(set(together)) > 1


def test_a_compiled_model_writes_without_compiling_again(tokenizer) -> None:
    """Each layer's cache would be another shape to its blocks."""
    model = lively("causal", special_ids(tokenizer).size)
    for layer in model.get_decoder().layers:
        layer.compile()
    torch._dynamo.utils.counters.clear()
    prompt = np.arange(13, 18)
    write(model, [Encoded(prompt, prompt, prompt)], Speech(tokenizer), Limits(1, 1, 6))
    assert not torch._dynamo.utils.counters["stats"]


def test_losses_by_example_add_up(tokenizer) -> None:
    size, rng = special_ids(tokenizer).size, np.random.default_rng(0)
    asked = [Encoded(ids, np.where(ids % 2, ids, -100), ids) for ids in (rng.integers(13, 300, n) for n in (4, 12, 7))]
    of = objective_for("chat", "causal")(lively("causal", size), tiny("chat", "causal"), asked, asked, 1, "x")
    score, guesses, sure = read(of, asked, batch_size=2)
    with torch.no_grad():
        assert score.over.sum() == pytest.approx(float(of.loss(of.make(asked), "sum")), rel=1e-5)
    assert all(1 / size <= probability <= 1 for one in sure for probability in one)
    assert score.under.tolist() == [len(guess) for guess in guesses] == [int((one.labels >= 0).sum()) for one in asked]


def test_what_was_said_of_hidden_words_stands_in_their_places() -> None:
    assert placed(Tagged(("a", None, "b", None), ("O",) * 4), ["B-X", "B-Y"]) == ["O", "B-X", "O", "B-Y"]
    assert placed(Tagged(("a", "b"), ("O",) * 2), ["B-X"]) == ["B-X", "O"]  # the second was beyond the context


def test_lines_of_predictions() -> None:
    assert as_line(Example(1, "a", "g", "", Classified("x", "good")), "bad") == {
        "id": "a",
        "expected": "good",
        "predicted": "bad",
    }
    assert as_line(Example(1, "a", "g", "", Tagged(("x",), ("O",))), ["O"])["expected"] == ["O"]
    assert as_line(Example(1, "a", "g", "", InputOutput("x", "y")), "z")["expected"] == "y"
    assert HeldOutResults([], [], {}, {"macro_f1": 0.5}).plain() == {"macro_f1": 0.5}
