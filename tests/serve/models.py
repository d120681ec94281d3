"""A tokenizer, an untrained model and a corpus of two documents, as the stages before would leave them."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from privllm.core.records import DEDUPED, document_id
from privllm.core.tables import write_table
from privllm.export.config import ExportConfig
from privllm.export.folder import ExportInputs, export
from privllm.models.causal import CausalConfig
from privllm.models.loading import build
from privllm.models.masked import MaskedConfig
from privllm.models.seq2seq import Seq2SeqConfig
from privllm.tokens.special_ids import special_ids
from privllm.tokens.vocabulary import TokenizerConfig, learn_tokenizer
from privllm.tokens.vocabulary_sample import SampleConfig, write_sample

MODELS = {
    "causal": CausalConfig(layers=1, width=32, heads=2),
    "masked": MaskedConfig(layers=1, width=32, heads=2),
    "seq2seq": Seq2SeqConfig(encoder_layers=1, decoder_layers=1, width=32, heads=2),
}
TEXT = "the store keeps every row in a page of its own and the page keeps the rows, naïve façades 🙂 "


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("serve")
    row = {
        "media_type": "text/plain",
        "digest": "",
        "language": "en",
        "language_score": 1.0,
        "placeholders": 0,
        "cluster": "0",
        "split": "train",
    }
    rows = [row | {"id": document_id(str(i)), "source": str(i), "text": TEXT * 20} for i in range(3)]
    write_table(pa.Table.from_pylist(rows, DEDUPED), root / "dedup" / "00000.parquet")
    write_sample(SampleConfig(), root / "dedup", root / "dedup/sample")
    learn_tokenizer(TokenizerConfig(vocabulary=320), root / "dedup/sample", root / "tokenizer")
    for family, cfg in MODELS.items():
        build(family, cfg, special_ids(root / "tokenizer"), 32, seed=1).save_pretrained(root / "pretrain" / family)
    (root / "evaluate.json").write_text(json.dumps({"perplexity": 12.5, "bits_per_byte": 1.9}))
    (root / "clean.json").write_text(json.dumps({"modules": {"privllm.clean": "0"}}))
    return root


@pytest.fixture
def export_inputs(built: Path) -> ExportInputs:
    params = {"pretrain": {"seed": 3, "model": {"width": 32}}}
    figures = {"evaluate": built / "evaluate.json"}
    return ExportInputs(
        built / "pretrain/causal", built / "tokenizer", built / "dedup", (built / "clean.json",), figures, params
    )


@pytest.fixture(scope="session")
def exported(built: Path) -> Callable[..., Path]:
    """exported(tuned=False, seed=1): the folder of a model that has something to say, as `export` leaves it."""

    def make(tuned: bool = False, seed: int = 1) -> Path:
        folder = built / f"export-{tuned}-{seed}"
        if not folder.is_dir():
            shape = CausalConfig(layers=2, width=32, heads=4, kv_heads=2)
            model = build("causal", shape, special_ids(built / "tokenizer"), 96, seed)
            generator = torch.Generator().manual_seed(seed)
            for parameter in model.parameters():  # or every block were the identity, and attention untested
                if parameter.ndim == 2:
                    parameter.data = torch.randn(parameter.shape, generator=generator) * 0.35
            model.save_pretrained(built / f"model-{seed}")
            inputs = ExportInputs(built / f"model-{seed}", built / "tokenizer", built / "dedup")
            export(ExportConfig(name=f"handbook-{seed}", chat=tuned), inputs, "causal", folder)
        return folder

    return make
