"""Models from elsewhere: the same logits, token by token, to the last bit of a float, with tokens added behind."""

import json
from pathlib import Path

import pytest
import torch

from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.special_tokens import SENTINELS, own_ids
from privllm.models.base_weights import note_of, open_start
from privllm.models.causal import CausalConfig
from privllm.models.loading import MODELS, build, load
from privllm.models.masked import MaskedConfig
from privllm.models.seq2seq import Seq2SeqConfig
from privllm.tokens.base_tokenizer import BaseTokenizer, complete
from privllm.tokens.special_ids import find_special_ids
from tests.foreign import NAMES, foreign_model, save_foreign

UNUSED = ("classifier_dropout", "summary_first_dropout")  # of heads that a language model does not have
SECTIONS = {
    "causal": CausalConfig(layers=2, width=32, heads=2, dropout=0.25),
    "masked": MaskedConfig(layers=2, width=32, heads=2, dropout=0.25),
    "seq2seq": Seq2SeqConfig(encoder_layers=1, decoder_layers=1, width=32, heads=2, dropout=0.25),
}
KINDS = [
    (family, kind, tied) for family, traits in TRAITS.items() for kind in traits.model_types for tied in (True, False)
]
KINDS.remove(("masked", "bert", False))  # transformers 5 saves one of its two biases then, and reads the other


def logits(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with torch.inference_mode():
        return model.eval()(input_ids=ids, **more).logits


@pytest.mark.parametrize(("family", "kind", "tied"), KINDS)
def test_logits_are_the_bases_and_stay_when_tokens_are_added(
    family: str, kind: str, tied: bool, tmp_path: Path
) -> None:
    specials = ("<s>", "</s>", "<unk>", *(["<extra_id_0>"] if family == "seq2seq" else []))
    theirs = save_foreign(tmp_path, family, kind, specials, tie_word_embeddings=tied)
    found = completed(tmp_path)
    special = find_special_ids(found.tokenizer, NAMES, kind)
    model = open_start(family, tmp_path, SECTIONS[family], special, 16, found.added)
    assert model.training
    size = theirs.config.vocab_size
    assert model.config.vocab_size == size + 4 + (SENTINELS - 1 if family == "seq2seq" else 0)
    ids = torch.randint(0, size, (2, 12), generator=torch.Generator().manual_seed(0))
    made = logits(model, ids)
    assert torch.allclose(made[..., :size], logits(theirs, ids), atol=1e-4)
    assert (model.config.eos_token_id, model.config.pad_token_id) == (1, 0)  # the base's own
    rates = {value for key, value in vars(model.config).items() if "dropout" in key and key not in UNUSED}
    assert rates <= {0.0 if family == "causal" else 0.25}  # of a causal one, `train.dropout` adds it for training
    model.save_pretrained(tmp_path / "out")
    saved = MODELS[family].auto_class.from_pretrained(tmp_path / "out")
    assert torch.allclose(logits(saved, ids), made, atol=1e-5)
    assert str(tmp_path) not in (tmp_path / "out/config.json").read_text("utf-8")


def completed(folder: Path) -> BaseTokenizer:
    text = (folder / "tokenizer.json").read_text("utf-8")
    return complete(text, NAMES, "mine", list(TRAITS), needs_turns=True)


def test_new_tokens_begin_near_the_one_that_is_used_alike_and_apart(tmp_path: Path) -> None:
    theirs = save_foreign(tmp_path, "causal", "llama")
    found = completed(tmp_path)
    special = find_special_ids(found.tokenizer, NAMES, "llama")
    model = open_start("causal", tmp_path, SECTIONS["causal"], special, 16, found.added)
    rows, known = model.get_input_embeddings().weight, theirs.get_input_embeddings().weight
    assert set(found.added.values()) == {special.end}
    distances = [(rows[mark] - known[special.end]).norm() for mark in found.added]
    assert min(distances) > 0
    assert max(distances) < 0.3 * (known - known.mean(0)).norm(dim=1).mean()
    assert len({tuple(rows[mark].tolist()) for mark in found.added}) == len(found.added)
    again = open_start("causal", tmp_path, SECTIONS["causal"], special, 16, found.added)
    assert again.get_input_embeddings().weight.equal(rows)


def test_a_new_token_without_a_like_begins_near_the_mean(tmp_path: Path) -> None:
    theirs = save_foreign(tmp_path, "causal", "llama")
    known = theirs.get_input_embeddings().weight
    model = open_start("causal", tmp_path, SECTIONS["causal"], own_ids(len(known) + 1), 16, {len(known): None})
    distance = (model.get_input_embeddings().weight[-1] - known.mean(0)).norm()
    assert 0 < distance < 0.3 * (known - known.mean(0)).norm(dim=1).mean()


def test_rows_that_the_base_has_beyond_its_tokenizer_stay(tmp_path: Path) -> None:
    theirs = foreign_model("causal", "llama", 352)
    theirs.save_pretrained(tmp_path)
    model = open_start("causal", tmp_path, SECTIONS["causal"], own_ids(343), 16, {342: 1})
    rows = model.get_input_embeddings().weight
    assert len(rows) == 352
    changed = (rows != theirs.get_input_embeddings().weight).any(1).nonzero().flatten().tolist()
    assert changed == [342]


@pytest.mark.parametrize("family", SECTIONS)
def test_ours_comes_back_with_every_weight(family: str, tmp_path: Path) -> None:
    begun = build(family, SECTIONS[family], own_ids(40), 16, 3)
    begun.save_pretrained(tmp_path)
    again = open_start(family, tmp_path, SECTIONS[family], own_ids(40), 16, {})
    assert {name: part.tolist() for name, part in again.state_dict().items()} == {
        n: p.tolist() for n, p in begun.state_dict().items()
    }
    again.save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()
    assert load(family, tmp_path / "again").config.architectures


def test_a_context_beyond_the_models_is_refused(tmp_path: Path) -> None:
    build("causal", SECTIONS["causal"], own_ids(40), 16, 3).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"pack.context is 17 tokens.*sees 16 at once: lower pack.context to 16"):
        open_start("causal", tmp_path, SECTIONS["causal"], own_ids(40), 17, {})


def test_weights_that_are_not_all_there_are_refused(tmp_path: Path) -> None:
    begun = build("causal", SECTIONS["causal"], own_ids(40), 16, 3)
    begun.save_pretrained(tmp_path, state_dict={n: p for n, p in begun.state_dict().items() if "layers.1." not in n})
    with pytest.raises(UserError, match=r"lacks .*layers\.1\."):
        open_start("causal", tmp_path, SECTIONS["causal"], own_ids(40), 16, {})


def test_the_note_beside_the_weights(tmp_path: Path) -> None:
    (tmp_path / "start.json").write_text(json.dumps({"start": "data/base/x", "added": {"8": None, "7": 2}}), "utf-8")
    assert note_of(tmp_path) == {"start": "data/base/x", "added": {8: None, 7: 2}, "chat": False}
    (tmp_path / "start.json").write_text(json.dumps({"start": "scratch"}), "utf-8")
    assert note_of(tmp_path)["added"] == {}
