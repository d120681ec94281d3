import pytest

from privllm.evaluate.recipe import EvaluateInputs
from privllm.evaluate.samples import write_fillings, write_samples
from privllm.models.family import FAMILIES
from privllm.models.generate import SamplingConfig
from privllm.models.loading import load
from privllm.tokens.encode import Encoder
from privllm.tokens.special_ids import special_ids


def test_same_seed_same_text_whatever_else_is_sampled(inputs: EvaluateInputs) -> None:
    model, encoder = load("causal", inputs.model), Encoder.open(inputs.tokenizer)
    special = special_ids(inputs.tokenizer)
    tokens = encoder.encode(["the naïve store keeps every row"])[0].tolist()
    both = write_samples(
        model,
        special_ids(inputs.tokenizer),
        encoder,
        {"a": tokens, "b": tokens},
        5,
        SamplingConfig(max_new_tokens=12, seed=4),
    )
    alone = write_samples(model, special, encoder, {"b": tokens}, 5, SamplingConfig(max_new_tokens=12, seed=4))
    other = write_samples(model, special, encoder, {"b": tokens}, 5, SamplingConfig(max_new_tokens=12, seed=5))
    assert both["samples"][1] == alone["samples"][0] != other["samples"][0]
    assert both["samples"][0]["text"] != both["samples"][1]["text"]
    assert both["decoding"]["max_new_tokens"] == 12
    assert "the naïve store".startswith(both["samples"][0]["prompt"][:3])


@pytest.mark.parametrize("family", ["masked", "seq2seq"])
def test_gaps_and_what_was_in_them_are_the_document(inputs_of, family: str) -> None:
    inputs = inputs_of(family)
    model, encoder = load(family, inputs.model), Encoder.open(inputs.tokenizer)
    text = "the naïve store keeps every row in a page of its own"
    special = special_ids(inputs.tokenizer)
    tokens = encoder.encode([text])[0].tolist()
    (sample,) = write_fillings(
        FAMILIES[family].fill_gaps, model, special, encoder, {"a": tokens, "b": tokens[:1]}, 1000
    )["samples"]
    gaps, truth = sample["prompt"].split(" [...] "), sample["truth"].split(" | ")
    assert len(gaps) == len(truth) + 1 == len(sample["text"].split(" | ")) + 1
    assert "".join(part for pair in zip(gaps, [*truth, ""], strict=True) for part in pair).replace(
        " ", ""
    ) == text.replace(" ", "")
    assert (
        sample == write_fillings(FAMILIES[family].fill_gaps, model, special, encoder, {"a": tokens}, 1000)["samples"][0]
    )
