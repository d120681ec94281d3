"""Heads on pretrained bodies: what was learnt stays, what is new is a function of the seed, and a fresh start is pretraining's own."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from privllm.core.errors import UserError
from privllm.core.families import families_of
from privllm.core.special_tokens import own_ids
from privllm.models.causal import CausalConfig
from privllm.models.loading import build, context_of
from privllm.models.masked import MaskedConfig
from privllm.models.seq2seq import Seq2SeqConfig
from privllm.models.task_heads import CLASSES, open_model
from privllm.tasks.formats import KINDS
from tests.foreign import save_foreign

MODELS = {
    "causal": CausalConfig(layers=2, width=32, heads=2),
    "masked": MaskedConfig(layers=2, width=32, heads=2),
    "seq2seq": Seq2SeqConfig(encoder_layers=1, decoder_layers=1, width=32, heads=2),
}


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders as `pretrain` leaves them, of weights that differ from those that the configuration begins with."""
    found = {}
    for family, cfg in MODELS.items():
        found[family] = tmp_path_factory.mktemp(family)
        build(family, cfg, own_ids(64), 24, seed=99).save_pretrained(found[family])
        (found[family] / "training.json").write_text(json.dumps({"config": {"model": asdict(cfg)}}))
    return found


@pytest.mark.parametrize(("kind", "family"), sorted(CLASSES))
def test_the_body_is_the_pretrained_one_or_a_fresh_one(starts: dict[str, Path], kind: str, family: str) -> None:
    labels = ("a", "b", "c") if kind in ("classification", "tokens") else ()
    for fresh, seed in ((False, 99), (True, 5)):
        state = torch.random.get_rng_state()
        model = open_model(kind, family, starts[family], labels, pad=1, seed=5, fresh=fresh)
        assert torch.random.get_rng_state().equal(state)
        body = build(family, MODELS[family], own_ids(64), 24, seed).base_model.state_dict()
        found = {name.removeprefix(model.base_model_prefix + "."): value for name, value in model.state_dict().items()}
        assert all(found[name].equal(value) for name, value in body.items())
        again = open_model(kind, family, starts[family], labels, pad=1, seed=5, fresh=fresh).state_dict()
        assert all(again[name].equal(value) for name, value in model.state_dict().items())
        assert context_of(model.config) == 24
        assert not labels or model.config.id2label == {0: "a", 1: "b", 2: "c"}


def test_the_masked_heads_own_layer_comes_along(starts: dict[str, Path]) -> None:
    pretrained = build("masked", MODELS["masked"], own_ids(64), 24, seed=99)
    tuned = open_model("classification", "masked", starts["masked"], ("a", "b"), pad=1, seed=0)
    assert tuned.head.dense.weight.equal(pretrained.head.dense.weight)


@pytest.mark.slow
def test_what_cannot_be_opened_is_explained(starts: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no trained model"):
        open_model("chat", "causal", tmp_path, (), 1, 0)
    with pytest.raises(UserError, match="t5 model, which is not of the causal family"):
        open_model("chat", "causal", starts["seq2seq"], (), 1, 0)
    olmo = tmp_path / "olmo"
    save_foreign(olmo, "causal", "olmo2")
    with pytest.raises(UserError, match="transformers has no head for tokens over a olmo2 model"):
        open_model("tokens", "causal", olmo, ("a", "b"), 1, 0)
    open_model("classification", "causal", olmo, ("a", "b"), 1, 0)
    assert families_of("classification") == ["causal", "masked"]
    assert {(kind, family) for kind in KINDS for family in families_of(kind)} == set(CLASSES)
