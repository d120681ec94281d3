"""Models from elsewhere: the same logits, token by token, under our numbers."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.special_tokens import END_OF_TEXT, PAD, TURN_MARKS
from privllm.models.base_weights import note_of, open_start
from privllm.models.causal import CausalConfig
from privllm.models.loading import MODELS, build, load
from privllm.models.masked import MaskedConfig
from privllm.models.seq2seq import SENTINELS, Seq2SeqConfig
from privllm.tokens.base_tokenizer import arrange
from tests.foreign import NAMES, save_foreign

SECTIONS = {
    "causal": CausalConfig(layers=2, width=32, heads=2, dropout=0.25),
    "masked": MaskedConfig(layers=2, width=32, heads=2, dropout=0.25),
    "seq2seq": Seq2SeqConfig(encoder_layers=1, decoder_layers=1, width=32, heads=2, dropout=0.25),
}
KINDS = [
    (family, kind, tied) for family, traits in TRAITS.items() for kind in traits.model_types for tied in (True, False)
]


def logits(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with torch.inference_mode():
        return model.eval()(input_ids=ids, **more).logits


@pytest.mark.parametrize(("family", "kind", "tied"), KINDS)
def test_logits_are_the_starts_under_our_numbers(family: str, kind: str, tied: bool, tmp_path: Path) -> None:
    more = {"tie_word_embeddings": tied}
    theirs = save_foreign(
        tmp_path, family, kind, ("<s>", "</s>", "<unk>", *(["<extra_id_0>"] if family == "seq2seq" else [])), **more
    )
    found = arrange((tmp_path / "tokenizer.json").read_text("utf-8"), NAMES, kind)
    size = 1 + max(Tokenizer.from_str(found.tokenizer).get_vocab().values())
    model = open_start(family, tmp_path, SECTIONS[family], size, 16, found.moved)
    assert model.training
    assert model.config.vocab_size == size + (SENTINELS if family == "seq2seq" else 0)
    ours = torch.tensor(
        [
            i
            for i in range(model.config.vocab_size)
            if found.moved.get(i, i) is not None and found.moved.get(i, i) < theirs.config.vocab_size
        ]
    )
    there = torch.tensor([found.moved.get(i, i) for i in ours.tolist()])
    lots = torch.randint(0, len(ours), (2, 12), generator=torch.Generator().manual_seed(0))
    expected, made = logits(theirs, there[lots]), logits(model, ours[lots])
    assert torch.allclose(made[..., ours], expected[..., there], atol=1e-4)
    assert len(ours) >= theirs.config.vocab_size - 1  # a token of its own for the end of a text took no row away
    assert (model.config.eos_token_id, model.config.pad_token_id) == (END_OF_TEXT, PAD)
    rates = {value for key, value in vars(model.config).items() if "dropout" in key and key != "classifier_dropout"}
    assert rates == {0.0 if family == "causal" else 0.25}  # of a causal one, `train.dropout` adds it for training
    model.save_pretrained(tmp_path / "out")
    assert torch.allclose(
        logits(MODELS[family].auto_class.from_pretrained(tmp_path / "out"), ours[lots]), made, atol=1e-5
    )
    assert str(tmp_path) not in (tmp_path / "out/config.json").read_text("utf-8")


def test_new_tokens_begin_near_the_mean_of_the_others_and_apart(tmp_path: Path) -> None:
    theirs = save_foreign(tmp_path, "causal", "llama")
    found = arrange((tmp_path / "tokenizer.json").read_text("utf-8"), NAMES, "llama")
    model = open_start("causal", tmp_path, SECTIONS["causal"], theirs.config.vocab_size + 5, 16, found.moved)
    rows, known = model.get_input_embeddings().weight, theirs.get_input_embeddings().weight
    distances = [(rows[mark] - known.mean(0)).norm() for mark in (PAD, *TURN_MARKS)]
    assert 0 < max(distances) < 0.3 * (known - known.mean(0)).norm(dim=1).mean()
    assert len({tuple(rows[mark].tolist()) for mark in (PAD, *TURN_MARKS)}) == 4
    again = open_start("causal", tmp_path, SECTIONS["causal"], theirs.config.vocab_size + 5, 16, found.moved)
    assert again.get_input_embeddings().weight.equal(rows)


@pytest.mark.parametrize("family", SECTIONS)
def test_ours_comes_back_with_every_weight(family: str, tmp_path: Path) -> None:
    begun = build(family, SECTIONS[family], 40, 16, 3)
    begun.save_pretrained(tmp_path)
    again = open_start(family, tmp_path, SECTIONS[family], 40, 16, {})
    assert {name: part.tolist() for name, part in again.state_dict().items()} == {
        n: p.tolist() for n, p in begun.state_dict().items()
    }
    again.save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()
    assert load(family, tmp_path / "again").config.architectures


def test_a_context_beyond_the_models_is_refused(tmp_path: Path) -> None:
    build("causal", SECTIONS["causal"], 40, 16, 3).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"pack.context is 17 tokens.*sees 16 at once: lower pack.context to 16"):
        open_start("causal", tmp_path, SECTIONS["causal"], 40, 17, {})


def test_weights_that_are_not_all_there_are_refused(tmp_path: Path) -> None:
    begun = build("causal", SECTIONS["causal"], 40, 16, 3)
    begun.save_pretrained(tmp_path, state_dict={n: p for n, p in begun.state_dict().items() if "layers.1." not in n})
    with pytest.raises(UserError, match=r"lacks .*layers\.1\."):
        open_start("causal", tmp_path, SECTIONS["causal"], 40, 16, {})


def test_the_note_beside_the_weights(tmp_path: Path) -> None:
    (tmp_path / "start.json").write_text(json.dumps({"start": "data/base/x", "moved": {"1": None, "7": 2}}), "utf-8")
    assert note_of(tmp_path) == {"start": "data/base/x", "moved": {1: None, 7: 2}}
    (tmp_path / "start.json").write_text(json.dumps({"start": "scratch"}), "utf-8")
    assert note_of(tmp_path)["moved"] == {}
