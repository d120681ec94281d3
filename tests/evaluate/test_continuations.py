from privllm.evaluate.continuations import continuations
from privllm.evaluate.recipe import EvaluateInputs
from privllm.models.loading import load
from privllm.tokens.special_ids import special_ids


def test_continuations_pair_the_model_with_what_follows(inputs: EvaluateInputs) -> None:
    tokens = list(range(20, 50))
    made = continuations(
        load("causal", inputs.model),
        special_ids(inputs.tokenizer),
        {"a": tokens, "b": tokens[:15]},
        prompt=10,
        length=12,
    )
    assert made["a"][1] == tokens[10:22]
    assert made["b"][1] == tokens[10:15]
    assert [len(made[name][0]) <= len(made[name][1]) for name in "ab"] == [True, True]
    assert made["a"][0][: len(made["b"][0])] == made["b"][0]
