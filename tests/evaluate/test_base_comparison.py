"""The base model beside what became of it, on the same clean text."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from privllm.core.base_model import NOTE
from privllm.core.report import write_json
from privllm.evaluate.base_comparison import compare_with_base
from privllm.evaluate.held_out import choose_documents
from privllm.evaluate.recipe import EvaluateConfig, EvaluateInputs, evaluate, read_documents
from privllm.evaluate.scoring import ModelFiles, score
from privllm.models.loading import load
from privllm.tokens.encode import Encoder
from privllm.tokens.special_ids import special_ids
from privllm.tokens.trained_documents import TRAINED


@pytest.fixture
def start(inputs: EvaluateInputs, tmp_path: Path) -> Path:
    """A base model unlike the trained one."""
    model = load("causal", inputs.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    model.save_pretrained(tmp_path / "start")
    write_json(tmp_path / "start" / NOTE, {"start": "data/base/x", "added": {}})
    return tmp_path / "start"


def test_the_same_text_is_scored_twice(inputs: EvaluateInputs, start: Path, tmp_path: Path) -> None:
    special = special_ids(inputs.tokenizer)
    chosen = choose_documents(inputs.documents, 10**6, TRAINED.empty_table()).ids_by_shard
    trained, base = (
        {
            one.id: one
            for one in score(ModelFiles("causal", folder, inputs.tokenizer), chosen, 8, tmp_path / folder.name)
        }
        for folder in (inputs.model, start)
    )
    documents = list(read_documents(inputs, Encoder.open(inputs.tokenizer), special, chosen))
    found = compare_with_base("causal", load("causal", start), special, documents, trained, 8)
    bits = np.zeros(2)
    byte_count = 0
    for document in documents:
        for column, scores in enumerate((base[document.id], trained[document.id])):
            for place, nats in zip(scores.places, scores.nats, strict=True):
                if document.clean[place]:
                    bits[column] += nats / math.log(2)
                    byte_count += int(document.sizes[place]) if column else 0
    before, after = bits / byte_count
    assert found["bits_per_byte_clean"] == pytest.approx(before, abs=1e-5)
    assert found["difference"] == pytest.approx(after - before, abs=1e-5)
    low, high = found["interval"]
    assert low < found["difference"] < high


def test_a_report_has_it_only_where_training_began_with_a_base(
    inputs: EvaluateInputs, start: Path, tmp_path: Path
) -> None:
    cfg = EvaluateConfig(continuations=1, samples=1, own_texts=0)
    report = evaluate(cfg, inputs._replace(start=start), "causal", tmp_path / "out")
    assert report["test"]["before"]["base"] == "data/base/x"
    assert report["test"]["before"]["documents"] == report["test"]["clean_documents"]
    assert "before" not in evaluate(cfg, inputs, "causal", tmp_path / "scratch")["test"]
