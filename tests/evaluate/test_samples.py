from privllm.evaluate.recipe import Inputs
from privllm.evaluate.samples import write_samples
from privllm.model.causal import load_causal
from privllm.model.generate import SamplingConfig
from privllm.tokens.encoding import Encoder


def test_same_seed_same_text_whatever_else_is_sampled(inputs: Inputs) -> None:
    model, encoder = load_causal(inputs.model), Encoder.open(inputs.tokenizer)
    tokens = encoder.encode(["the naïve store keeps every row"])[0].tolist()
    both = write_samples(model, encoder, {"a": tokens, "b": tokens}, 5, SamplingConfig(max_new_tokens=12, seed=4))
    alone = write_samples(model, encoder, {"b": tokens}, 5, SamplingConfig(max_new_tokens=12, seed=4))
    other = write_samples(model, encoder, {"b": tokens}, 5, SamplingConfig(max_new_tokens=12, seed=5))
    assert both["samples"][1] == alone["samples"][0] != other["samples"][0]
    assert both["samples"][0]["text"] != both["samples"][1]["text"]
    assert both["decoding"]["max_new_tokens"] == 12
    assert "the naïve store".startswith(both["samples"][0]["prompt"][:3])
