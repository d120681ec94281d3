"""A tokenizer, an untrained model and a corpus of two documents, as the stages before would leave them."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

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


@pytest.fixture(scope="session")
def exported_masked(built: Path) -> Path:
    """The folder of a masked model of which every layer does something, as `export` leaves it."""
    folder = built / "export-masked"
    shape = MaskedConfig(layers=3, width=32, heads=2)
    model = build("masked", shape, special_ids(built / "tokenizer"), 96, seed=1)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.35
    model.save_pretrained(built / "model-masked")
    inputs = ExportInputs(built / "model-masked", built / "tokenizer", built / "dedup")
    export(ExportConfig(name="reader-1"), inputs, "masked", folder)
    return folder


@pytest.fixture(scope="session")
def sentence_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """sentence_folder(**pooling): a small BERT with its own tokenizer, as sentence-transformers saves one."""

    def make(*steps: str, **pooling: bool) -> Path:
        folder = tmp_path_factory.mktemp("sentences")
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[", "]", *sorted(set(TEXT.lower().split())), "sep"]
        wordpiece = Tokenizer(WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
        wordpiece.normalizer = BertNormalizer()
        wordpiece.pre_tokenizer = BertPreTokenizer()
        wordpiece.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        special = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), words, strict=False))
        PreTrainedTokenizerFast(tokenizer_object=wordpiece, model_max_length=40, **special).save_pretrained(folder)
        shape = BertConfig(
            vocab_size=len(words),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=48,
        )
        torch.manual_seed(3)
        BertModel(shape).save_pretrained(folder)
        if steps:
            modules = [
                {"idx": i, "path": step[0] * bool(i), "type": f"sentence_transformers.models.{step}"}
                for i, step in enumerate(steps)
            ]
            (folder / "modules.json").write_text(json.dumps(modules))
            (folder / "P").mkdir()
            modes = {f"pooling_mode_{name}": on for name, on in pooling.items()}
            (folder / "P/config.json").write_text(json.dumps({"word_embedding_dimension": 32} | modes))
        return folder

    return make
