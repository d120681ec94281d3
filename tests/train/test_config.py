from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.core.params import read_params
from privllm.train.adapter_config import AdapterConfig
from privllm.train.config import FromBase, PretrainConfig, TrainConfig


def test_a_section_overrides_the_defaults_nested_ones_included(tmp_path: Path):
    file = tmp_path / "params.yaml"
    file.write_text(
        "pretrain:\n  causal:\n    model:\n      layers: 2\n    optimizer: adamw\n  masked:\n    masking: {weights_by_pos: {NOUN: 2}}\n"
    )
    cfg = read_params("pretrain", PretrainConfig, file)
    assert (cfg.causal.model.layers, cfg.causal.model.width, cfg.causal.optimizer, cfg.causal.batch_size) == (
        2,
        256,
        "adamw",
        4,
    )
    assert cfg.masked.masking.weights_by_pos == {"NOUN": 2.0}
    assert cfg.seq2seq.model.encoder_layers == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimizer": "sgd"},
        {"learning_rate": 0.0},
        {"batch_size": 0},
        {"epochs": 0.0},
        {"decay_fraction": 1.0},
        {"warmup_steps": -1},
        {"precision": "16"},
        {"compile": "maybe"},
        {"patience": 0},
        {"min_delta": -0.1},
    ],
)
def test_values_out_of_range_name_the_key(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        TrainConfig(**wrong)


def test_muon_takes_no_adapters_of_a_base() -> None:
    """Their matrices are thin, and so are the rows of added tokens."""
    with pytest.raises(UserError, match=r"from_base\.optimizer"):
        FromBase(optimizer="muon")
    assert FromBase(optimizer="muon", lora=AdapterConfig(rank=0)).optimizer == "muon"


def test_compiling_is_said_by_yamls_own_words(tmp_path: Path):
    file = tmp_path / "params.yaml"
    for said, meant in (("true", "true"), ("false", "false"), ("auto", "auto"), ("False", "false")):
        file.write_text(f"pretrain:\n  causal:\n    compile: {said}\n")
        assert read_params("pretrain", PretrainConfig, file).causal.compile == meant
