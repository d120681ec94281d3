"""After training from a base the weights go back a part of the way, with adapters and without."""

import shutil
from pathlib import Path

import pytest
import torch

from privllm.core.base_model import NOTE
from privllm.core.report import write_json
from privllm.models.loading import load
from privllm.train.adapter_config import AdapterConfig
from privllm.train.config import FromBase
from privllm.train.loop import Work
from privllm.train.pretrain import PretrainInputs, pretrain
from tests.foreign import foreign_model
from tests.train.tiny_corpus import VOCABULARY, make_corpus, tiny


@pytest.mark.parametrize("rank", [0, 4])
def test_the_weights_go_back_a_part_of_the_way_to_the_base(tmp_path: Path, rank: int) -> None:
    """A new token's row, which the base never had, stays as it was learnt."""
    corpus = make_corpus(tmp_path)
    foreign_model("causal", "llama", VOCABULARY).save_pretrained(tmp_path / "base")
    shutil.copyfile(corpus.tokenizer / "tokenizer.json", tmp_path / "base/tokenizer.json")
    write_json(tmp_path / "base" / NOTE, {"start": "data/base/x", "added": {"7": 1}})
    corpus = corpus._replace(start=tmp_path / "base")
    weights = [load("causal", tmp_path / "base").state_dict()]
    for strength in (1.0, 0.25):
        cfg = tiny(from_base=FromBase("adamw", 0.005, 2.0, AdapterConfig(rank), strength=strength))
        place = tmp_path / str(strength)
        inputs = PretrainInputs(corpus.rows, corpus.guide, corpus.tokenizer, corpus.start)
        pretrain("causal", cfg, inputs, place / "out", place / "live", Work(place / "work/pretrain", "code", 60.0))
        weights.append(load("causal", tmp_path / str(strength) / "out").state_dict())
    base, trained, weakened = weights
    name = "model.layers.0.mlp.up_proj.weight"
    assert (trained[name] - base[name]).abs().max() > 1e-4
    torch.testing.assert_close(weakened[name], base[name] + 0.25 * (trained[name] - base[name]), atol=1e-6, rtol=1e-5)
    rows = "model.embed_tokens.weight"
    assert torch.equal(weakened[rows][7], trained[rows][7])
    assert not torch.equal(trained[rows][7], base[rows][7])
    assert torch.equal(weakened[rows][9], trained[rows][9]) == bool(rank), "adapters leave other rows alone"
