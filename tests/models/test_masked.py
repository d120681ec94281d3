"""The masked family's loss beside each architecture's own forward pass."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForMaskedLM

from privllm.core.families import TRAITS
from privllm.models.loading import context_of, load
from privllm.models.masked import masked_loss
from privllm.models.vocabulary import IGNORED
from tests.foreign import foreign_model


@pytest.mark.parametrize("kind", TRAITS["masked"].model_types)
@pytest.mark.parametrize("lengths", [(9, 7), (12,)])
def test_the_loss_of_a_row_is_that_of_its_documents_alone(kind: str, lengths: tuple[int, ...], tmp_path: Path) -> None:
    foreign_model("masked", kind, 40).save_pretrained(tmp_path)
    model, stock = load("masked", tmp_path), AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    generator = torch.Generator().manual_seed(0)
    documents = [torch.randint(2, 40, (1, length), generator=generator) for length in lengths]
    labels = [document.clone() for document in documents]
    alone = 0.0
    for document, wanted in zip(documents, labels, strict=True):
        wanted[0, ::3] = IGNORED
        logits = stock(document).logits
        alone += float(F.cross_entropy(logits[0], wanted[0], ignore_index=IGNORED, reduction="sum"))
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    with torch.no_grad():
        together = float(masked_loss(model, (torch.cat(documents, 1), positions, torch.cat(labels, 1)), "sum"))
    assert together == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize(("kind", "context"), [("bert", 64), ("roberta", 63), ("modernbert", 64)])
def test_a_model_sees_as_many_tokens_as_it_has_positions_for(kind: str, context: int) -> None:
    """RoBERTa's first position is behind that of its padding, 0 here."""
    model = foreign_model("masked", kind, 40, context=64)
    assert context_of(model.config) == context
    assert model(torch.full((1, context), 7)).logits.shape == (1, context, 40)
