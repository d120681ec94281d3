"""Every family: complete, built from a seed alone, and loaded by stock classes with equal logits."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE

from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.special_tokens import END_OF_TEXT, MASK, PAD, SENTINELS, own_ids
from privllm.models.causal import CausalConfig
from privllm.models.family import FAMILIES
from privllm.models.family_model import FamilyModel
from privllm.models.family_texts import TEXTS
from privllm.models.loading import MODELS, build, load
from privllm.models.masked import MaskedConfig
from privllm.models.seq2seq import Seq2SeqConfig, with_sentinels
from privllm.train.config import PretrainConfig

VOCABULARY, CONTEXT = 40, 16
SMALL = {
    "causal": CausalConfig(layers=2, width=32, heads=2),
    "masked": MaskedConfig(layers=2, width=32, heads=2, local_attention=4, global_every=2),
    "seq2seq": Seq2SeqConfig(encoder_layers=1, decoder_layers=2, width=32, heads=2),
}


def logits(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with torch.inference_mode():
        return model(input_ids=ids, **more).logits


def test_every_family_is_complete() -> None:
    """This names what a new family lacks."""
    for places in (MODELS, TEXTS, FAMILIES, vars(PretrainConfig())):
        assert set(places) == set(TRAITS)
    for name, family in FAMILIES.items():
        assert (family.name, family.traits, family.text) == (name, TRAITS[name], TEXTS[name])
        assert isinstance(family.model, FamilyModel)
        assert (family.fill_gaps is None) == family.traits.continues_text


@pytest.mark.parametrize("family", MODELS)
def test_initialised_from_the_seed_alone(family: str) -> None:
    state = torch.random.get_rng_state()
    first, second, other = (build(family, SMALL[family], own_ids(VOCABULARY), CONTEXT, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)]
    differ = [torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)]
    assert all(same)
    assert not all(differ)


@pytest.mark.parametrize("family", MODELS)
def test_stock_classes_load_it_with_equal_logits(family: str, tmp_path: Path) -> None:
    model = build(family, SMALL[family], own_ids(VOCABULARY), CONTEXT, 0).eval()
    with torch.no_grad():  # so that the branches say something
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.05)
    model.save_pretrained(tmp_path)
    ids = torch.randint(6, VOCABULARY, (2, CONTEXT), generator=torch.Generator().manual_seed(0))
    stock = MODELS[family].auto_class.from_pretrained(tmp_path, local_files_only=True).eval()
    assert torch.allclose(logits(stock, ids), logits(load(family, tmp_path), ids), atol=1e-5)
    assert torch.allclose(logits(stock, ids), logits(model, ids), atol=1e-5)
    assert stock.config.pad_token_id == PAD


def test_before_training_every_guess_is_nearly_as_good_as_any() -> None:
    """T5's own start is sure that each token follows itself."""
    ids = torch.randint(6, VOCABULARY, (2, CONTEXT), generator=torch.Generator().manual_seed(0))
    for family in MODELS:
        model = build(family, SMALL[family], own_ids(VOCABULARY), CONTEXT, 0).eval()
        entropy = torch.distributions.Categorical(logits=logits(model, ids)).entropy().mean()
        assert entropy > 0.9 * torch.tensor(float(model.config.vocab_size)).log(), family


def test_shapes_are_those_asked_for() -> None:
    masked = build(
        "masked",
        MaskedConfig(layers=4, width=64, heads=4, local_attention=10, global_every=3, rope_theta=500.0),
        own_ids(40),
        16,
        0,
    ).config
    assert masked.layer_types == ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
    assert (
        masked.sliding_window,
        masked.rope_parameters["full_attention"]["rope_theta"],
        masked.intermediate_size,
    ) == (5, 500.0, 192)
    both = build(
        "seq2seq",
        Seq2SeqConfig(encoder_layers=3, decoder_layers=1, width=64, heads=4, feedforward=90),
        own_ids(40),
        16,
        0,
    ).config
    assert (both.num_layers, both.num_decoder_layers, both.d_ff, both.d_kv, both.vocab_size) == (
        3,
        1,
        90,
        16,
        40 + SENTINELS,
    )
    assert (both.decoder_start_token_id, both.eos_token_id) == (PAD, END_OF_TEXT)


@pytest.mark.parametrize(
    ("schema", "wrong"),
    [
        (MaskedConfig, {"heads": 3}),
        (MaskedConfig, {"global_every": 0}),
        (MaskedConfig, {"dropout": 1.0}),
        (Seq2SeqConfig, {"heads": 3}),
        (Seq2SeqConfig, {"decoder_layers": 0}),
        (Seq2SeqConfig, {"position_distance": 8}),
    ],
)
def test_impossible_shapes_name_the_key(schema: type, wrong: dict) -> None:
    with pytest.raises(UserError, match=r"model\."):
        schema(**wrong)


def test_a_folder_of_another_family_or_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no trained model"):
        load("masked", tmp_path)
    build("causal", SMALL["causal"], own_ids(VOCABULARY), CONTEXT, 0).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="not of the masked family"):
        load("masked", tmp_path)


def test_sentinels_follow_the_last_id_and_are_no_text(tmp_path: Path) -> None:
    tokenizer = Tokenizer(BPE({"<|endoftext|>": 0, "a": 1, "b": 2}, []))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    more = Tokenizer.from_str(with_sentinels(tokenizer.to_str()))
    assert more.token_to_id("<extra_id_0>") == 3 == own_ids(3).sentinels[0]
    assert more.get_vocab_size() == 3 + SENTINELS
    assert more.encode("a<extra_id_7>b").ids == [1, 10, 2]
    assert more.decode([1, 10, 2]).replace(" ", "") == "ab"
    assert json.loads(more.to_str())["added_tokens"][-1]["special"]
    assert with_sentinels(more.to_str()) == more.to_str()
    assert MASK == 2
