"""Builds that go on: from the last promoted model on a grown corpus, and from a model of somebody else's."""

import importlib
import pydoc
import shutil
from pathlib import Path

import pytest
import torch

from privllm.core.records import document_id
from privllm.core.split import SplitConfig, split_of
from privllm.core.tables import write_table
from privllm.engine.pipeline import declared_stages
from privllm.tokens.trained_documents import trained_documents
from privllm.train.budget import pretraining_steps, rows_of_epoch
from tests.foreign import save_foreign
from tests.train.tiny_tasks import write_examples
from tests.workshop import SMALL, Workshop, make_workshop, outputs

MODULES = "abc ast bdb bz2 cmd code codecs copy dis filecmp fnmatch ftplib getpass hashlib hmac imaplib keyword linecache".split()
INCUMBENT = "data/promoted/model/incumbent"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A build of the causal family, then promoted by hand, its documents with it."""
    shop = make_workshop(tmp_path_factory.mktemp("incumbent") / "repo")
    shop.set("families", ["causal"])
    shop.set("finetune.tasks", {})
    shop.set("annotate.limit", 0)
    shop.set("pretrain.causal.validation_rows", 100_000)  # all of them, so that two figures of it are of the same rows
    shop.repro("pretrain")
    promote(shop)
    return shop


def promote(shop: Workshop) -> None:
    incumbent = shop.root / INCUMBENT
    shutil.rmtree(incumbent, ignore_errors=True)
    for stage in ("pretrain/causal", "tokenizer"):
        shutil.copytree(shop.root / "data" / stage, incumbent / Path(stage).name)
    write_table(trained_documents(shop.root / "data/pack", shop.root / "data/start"), incumbent / "documents.parquet")


def grow(shop: Workshop) -> None:
    """More manuals, all of them to train on, so that what is held out stays the same."""
    cfg = SplitConfig(SMALL["split.validation"], SMALL["split.test"])
    (shop.root / "data/sources/more").mkdir()
    for module in MODULES:
        if split_of(cfg, document_id(name := f"more/{module}.txt")) == "train":
            (shop.root / "data/sources" / name).write_text(
                pydoc.plain(pydoc.render_doc(importlib.import_module(module))), "utf-8"
            )


def test_a_promotion_runs_nothing_that_starts_from_scratch(shop: Workshop) -> None:
    assert shop.repro("pretrain") == ["start"]
    config = shop.root / INCUMBENT / "causal/training.json"
    config.write_text(config.read_text("utf-8") + "\n", "utf-8")
    assert shop.repro("pretrain") == ["start"]


def test_the_next_model_goes_on_from_the_incumbent(shop: Workshop) -> None:
    before = shop.json("reports/pretrain/causal.json")
    vocabulary = (shop.root / "data/tokenizer/tokenizer.json").read_bytes()
    grow(shop)
    shop.set("base", {"causal": "incumbent", "tokenizer": "scratch"})
    for dotted, value in (("replay", 0.1), ("learning_rate", 0.001), ("epochs", 0.2), ("batch_size", 4)):
        shop.set(f"pretrain.causal.{dotted}", value)
    refused = shop.run("dvc", "repro", "pretrain", check=False).stderr
    assert (shop.root / "data/tokenizer/tokenizer.json").read_bytes() != vocabulary
    assert "a build has one vocabulary" in refused
    shop.set("base", "incumbent")
    ran = shop.repro("pretrain")
    assert "pretrain@causal" in ran
    assert (shop.root / "data/tokenizer/tokenizer.json").read_bytes() == vocabulary
    report = shop.json("reports/pretrain/causal.json")
    assert (
        report["start"]
        == shop.json("reports/start.json")["causal"]["start"]
        == shop.json("reports/tokenizer.json")["start"]
        == "incumbent"
    )
    # Not equal: the new documents hold more of the held-out text, which is left out.
    assert report["start_loss"] == pytest.approx(before["validation_loss"], abs=0.2)
    assert report["rows_new"] > 0 < report["rows_known"]
    assert report["replayed"] == pytest.approx(0.1, abs=1 / (4 * report["steps"]))
    rows = rows_of_epoch(report["rows_known"], report["rows_new"], 0.1)
    assert report["steps"] == pretraining_steps(0.2, rows, 4)
    stage = declared_stages(shop.root)["pretrain@causal"]
    made = outputs(shop.root, stage)
    shop.run("dvc", "repro", "-q", "--force", "--single-item", "pretrain@causal", DVC_NO_RUN_CACHE="1")
    assert outputs(shop.root, stage) == made


def test_a_model_of_somebody_elses_becomes_a_build_of_ours(shop: Workshop) -> None:
    save_foreign(shop.root / "data/base/tiny", "causal", "llama").to(torch.bfloat16).save_pretrained(
        shop.root / "data/base/tiny"
    )
    shop.run("dvc", "add", "-q", "data/base/tiny")
    shop.set("base", "data/base/tiny")
    shop.set("pretrain.causal.from_base.epochs", 0.05)
    shop.set("pretrain.causal.validation_rows", 32)
    shop.repro("evaluate", "export")
    config = shop.json("data/export/causal/config.json")
    assert (config["model_type"], config["hidden_size"], config["eos_token_id"]) == ("llama", 32, 1)
    assert config["dtype"] == "bfloat16"
    report = shop.json("reports/pretrain/causal.json")
    assert report["validation_loss"] < report["start_loss"]
    assert shop.json("reports/evaluate/causal.json")["test"]["before"]["difference"] < 0
    assert report["rows_known"] > 0, "general text, which the base is not to forget"
    assert shop.json("reports/evaluate/causal.json")["bits_per_byte"] > 0
    assert "Trained on from data/base/tiny" in (shop.root / "data/export/causal/README.md").read_text("utf-8")


def test_a_task_from_a_base_builds_no_corpus_and_no_vocabulary(tmp_path: Path) -> None:
    shop = make_workshop(tmp_path / "repo")
    save_foreign(shop.root / "data/base/tiny", "causal", "llama")
    (shop.root / "data/datasets").mkdir()
    write_examples(shop.root / "data/datasets/classification.jsonl", "classification")
    shop.run("dvc", "add", "-q", "data/base/tiny", "data/datasets")
    start = {"family": "causal", "kind": "classification", "start": "data/base/tiny"}
    shop.set("finetune.tasks", {"colours": start | {"data": "data/datasets/classification.jsonl", "epochs": 0.5}})
    assert shop.repro("finetune@colours") == ["fingerprint", "finetune@colours"]
    assert not (shop.root / "data/tokenizer").exists()
    vocabulary = "tokenizer.json"
    assert shop.json(f"data/finetune/colours/{vocabulary}") == shop.json(f"data/base/tiny/{vocabulary}")
