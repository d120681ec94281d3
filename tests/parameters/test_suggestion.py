"""Rules of thumb: monotone where they should be, within their bounds, and each with its reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.parameters.suggestion import (
    SHAPES,
    CorpusFacts,
    FamilyPlan,
    batch_for,
    context_for,
    embeddings_for,
    parameters_of,
    plan_family,
    rate_for,
    regularisation_for,
    wanted_epochs,
)

FLOPS = 2e10  # a second, of an invented machine


def speed(shape: tuple[int, int, int], context: int, batch_size: int) -> float:
    return FLOPS / (6 * parameters_of(shape) + 6e6)


def planned(tokens: int, minutes: float | None, shape: tuple[int, int, int] | None = None) -> FamilyPlan:
    corpus = CorpusFacts(tokens, 200, 4096, "a test")
    return plan_family(corpus, 256, False, 0.003, speed, None if minutes is None else 60 * minutes, shape)


def value(plan: FamilyPlan, key: str) -> float:
    return next(setting.value for setting in plan.settings if setting.key == key)  # type: ignore[return-value]


@given(st.integers(1_000, 10**10), st.floats(0.1, 10_000))
def test_the_budget_holds_and_every_value_has_a_reason(tokens, minutes):
    plan = planned(tokens, minutes)
    assert plan.seconds <= 60 * minutes * 1.06  # epochs are written with two digits
    assert all(setting.reason for setting in plan.settings)
    assert (value(plan, "model.layers"), value(plan, "model.width"), value(plan, "model.heads")) in SHAPES
    assert 0 < value(plan, "epochs") <= 8
    assert bool(plan.warnings) == (value(plan, "epochs") < 0.5 or tokens < 10**8)


@given(st.integers(1_000, 10**9), st.floats(1, 1000), st.floats(1, 20))
def test_more_time_never_makes_a_smaller_model_or_fewer_tokens(tokens, minutes, factor):
    less, more = planned(tokens, minutes), planned(tokens, minutes * factor)
    assert value(less, "model.width") <= value(more, "model.width")
    assert value(more, "model.width") > value(less, "model.width") or value(less, "epochs") <= value(more, "epochs")


def test_a_larger_model_leaves_time_to_read_all_of_the_text():
    plan = planned(900_000, 30)
    assert value(plan, "epochs") >= 1
    assert value(plan, "model.width") > 128
    tight = planned(900_000, 0.5)
    assert value(tight, "model.width") == 128
    assert value(tight, "epochs") < 1
    assert "need more minutes" in next(setting.reason for setting in tight.settings if setting.key == "epochs")


def test_without_a_limit_the_data_bound_the_shape():
    assert value(planned(20_000, None), "model.width") == 128
    assert value(planned(300_000, None), "model.width") == 192
    assert value(planned(10**9, None), "model.width") == 1024


def test_a_base_keeps_its_shape_at_a_third_of_the_rate():
    plan = planned(10**6, 60, shape=(6, 256, 4))
    assert not [setting for setting in plan.settings if setting.key in ("model.layers", "model.width", "model.heads")]
    scratch = rate_for(0.003, 256, int(value(plan, "batch_size")) * 256)
    assert value(plan, "learning_rate") == pytest.approx(float(scratch.value) / 3, rel=0.02)
    assert not plan.warnings  # nothing of training from scratch


@pytest.mark.parametrize(
    ("mean", "gpu", "context"),
    [(1, False, 128), (200, False, 256), (256, False, 256), (5000, False, 512), (5000, True, 1024)],
)
def test_the_context_holds_the_average_document(mean, gpu, context):
    assert context_for(CorpusFacts(10**6, mean, 4096, "a test"), gpu).value == context


def test_steps_are_small_where_there_are_few():
    assert batch_for(900_000, 256, gpu=False).value == 4
    assert batch_for(10**9, 256, gpu=False).value == 16
    assert batch_for(10**9, 256, gpu=True).value == 128
    assert batch_for(1000, 4096, gpu=False).value == 1


def test_repetition_asks_for_regularisation():
    for few, many in ((1, 4), (4, 8)):
        less, more = ({s.key: s.value for s in regularisation_for(epochs)} for epochs in (few, many))
        assert less["model.dropout"] <= more["model.dropout"]
        assert less["weight_decay"] < more["weight_decay"]


@pytest.mark.parametrize(
    ("tokens", "epochs"), [(1000, 4), (99_999, 4), (100_000, 8), (500_000, 8), (10**6, 4), (2 * 10**6, 2), (10**9, 1)]
)
def test_small_corpora_are_read_more_than_once(tokens, epochs):
    assert wanted_epochs(tokens) == epochs


def test_a_text_that_is_read_often_wants_one_matrix_for_both_embeddings() -> None:
    assert not embeddings_for(2)
    assert [(setting.key, setting.value) for setting in embeddings_for(2.1)] == [("model.tie_embeddings", True)]
