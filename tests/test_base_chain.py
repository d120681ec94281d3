"""From an open model to an exported one: continued pretraining by adapters, imitation, DPO, evaluation, gate and export.

Each stage that opens a model is killed by SIGKILL at changes of files drawn at random, and started again; the whole chain must end in the
bytes of one that nobody disturbed. The moments within a step are those of tests/train. It takes minutes: PRIVLLM_NIGHTLY=1 runs it.
"""

import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from privllm.core.records import document_id
from privllm.core.split import SplitConfig, split_of
from privllm.engine.pipeline import declared_stages
from tests.feedback.said import put
from tests.foreign import (
    BERT_NAMES,
    foreign_model,
    roberta_tokenizer,
    save_foreign,
    unigram_tokenizer,
    wordpiece_tokenizer,
)
from tests.train.tiny_feedback import said
from tests.workshop import PAGES, ROOT, SMALL, Workshop, environment, make_workshop, outputs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.environ.get("PRIVLLM_NIGHTLY") != "1", reason="it takes minutes: PRIVLLM_NIGHTLY=1 runs it"),
]

KILLS = 3  # of each stage
STRUCK = ("start", "pretrain", "align", "evaluate", "export")  # in the order of the build
BEHIND = ("start", "pretrain@causal", "align@causal", "evaluate@causal", "export@causal", "gate")
CHAIN = {
    "families": ["causal"],
    "base": "data/base/tiny",
    "replay.samples": 4,
    "finetune.tasks": {},
    "annotate.limit": 0,
    "pretrain.causal.from_base.epochs": 0.05,
    "align.lora.rank": 4,
    "align.sft.epochs": 0.4,
    "align.dpo.epochs": 0.4,
    "export.gguf": ["f16"],
    "executor.checkpoint_minutes": 0,  # after each step, so that there is much to tear
}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The whole chain; what was before it opened a model lies beside it, in `before`."""
    shop = make_workshop(tmp_path_factory.mktemp("chain") / "repo")
    save_foreign(shop.root / "data/base/tiny", "causal", "llama").to(torch.bfloat16).save_pretrained(
        shop.root / "data/base/tiny"
    )
    put(shop.root / "data/feedback/said.jsonl", *said())
    shop.run("dvc", "add", "-q", "data/base/tiny")
    shop.set_all(CHAIN)
    shop.repro("validate", "feedback")
    shutil.copytree(shop.root, shop.root.parent / "before", symlinks=True)
    return shop


def built(shop: Workshop, stage: str, last: int = 0) -> int:
    """Build up to a stage that dies at its change `last`, if it comes so far and it is above 0; return how many changes it made."""
    struck = shop.root.parent / "struck"
    struck.unlink(missing_ok=True)
    strike = {"PRIVLLM_STRIKE": f"{stage} {last}", "PRIVLLM_STRUCK": str(struck)}
    variables = environment(PYTHONPATH=str(ROOT / "tests/strike"), **strike)
    command = ["dvc", "repro", "-q", stage if stage == "start" else f"{stage}@causal"]
    done = subprocess.run(command, cwd=shop.root, env=variables, capture_output=True, text=True, timeout=300)
    changes = struck.stat().st_size
    assert bool(done.returncode) == (changes == last), done.stderr[-3000:]
    return changes


def test_killed_anywhere_the_chain_ends_in_the_same_bytes(unbroken: Workshop) -> None:
    changes = {stage: built(unbroken, stage) for stage in STRUCK}
    unbroken.repro("gate")
    killed = Workshop(unbroken.root.parent / "before")
    chance = random.Random(7)
    for stage in STRUCK:
        for _ in range(KILLS):
            last = chance.randint(1, changes[stage])
            if built(killed, stage, last) < last:
                break  # it had less left to do, and is finished
        killed.repro(stage if stage == "start" else f"{stage}@causal")
    killed.repro("gate")
    stages = declared_stages(unbroken.root)
    for name in BEHIND:
        assert outputs(killed.root, stages[name]) == outputs(unbroken.root, stages[name]), name
    assert (killed.root / "dvc.lock").read_bytes() == (unbroken.root / "dvc.lock").read_bytes()
    report = unbroken.json("reports/align/causal.json")
    assert report["sft"]["steps"] > 1 < report["dpo"]["steps"], "both phases were there to be killed"
    assert unbroken.json("reports/pretrain/causal.json")["lora"] == 16
    assert list((killed.root / "data/export/causal").glob("*.gguf"))


def test_an_edit_of_a_page_trains_again_and_fetches_nothing(unbroken: Workshop) -> None:
    """Neither the base model, nor what it said by itself, nor what people said is asked for again."""
    cfg = SplitConfig(SMALL["split.validation"], SMALL["split.test"])
    names = [f"pages/{name}.html" for name in PAGES]
    page = next(name for name in names if split_of(cfg, document_id(name)) == "train")
    unbroken.repro()
    before = (unbroken.root / "data/tokenizer/tokenizer.json").read_bytes()
    path = unbroken.root / "data/sources" / page
    path.write_text(path.read_text("utf-8").replace("return", "hand back"), "utf-8")
    ran = {stage.partition("@")[0] for stage in unbroken.repro()}
    assert {"collect", "clean", "dedup", "pack", "pretrain", "align", "evaluate", "export", "gate", "report"} <= ran
    assert not ran & {"fingerprint", "start", "feedback"}
    assert (unbroken.root / "data/tokenizer/tokenizer.json").read_bytes() == before


ROBERTA = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "mask_token": "<mask>"}
READERS = {  # family, tokenizer.json, tokenizer_config.json, and ids of the padding and of a text's end
    "bert": ("masked", wordpiece_tokenizer, BERT_NAMES | {"tokenizer_class": "BertTokenizer"}, (0, 3)),
    "roberta": (
        "masked",
        roberta_tokenizer,
        ROBERTA | {"tokenizer_class": "RobertaTokenizer"},
        (1, 2),
    ),
    "t5": (
        "seq2seq",
        unigram_tokenizer,
        {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "tokenizer_class": "T5Tokenizer"},
        (0, 1),
    ),
}


@pytest.mark.parametrize("kind", READERS)
def test_models_that_fill_gaps_go_on_with_their_own_words(kind: str, tmp_path: Path) -> None:
    """The whole chain; the exported folder is checked there by transformers' own tokenizer of that architecture."""
    family, make_tokenizer, names, (pad, end) = READERS[kind]
    shop = make_workshop(tmp_path / "repo")
    base = shop.root / "data/base/tiny"
    text = make_tokenizer()
    model = foreign_model(family, kind, Tokenizer.from_str(text).get_vocab_size(), context=256)
    model.config.pad_token_id, model.config.eos_token_id = pad, end
    model.save_pretrained(base)
    (base / "tokenizer.json").write_text(text, "utf-8")
    (base / "tokenizer_config.json").write_text(json.dumps(names), "utf-8")
    texts = [{"text": f"The committee number {number} met on Tuesday and read its report."} for number in range(90)]
    (shop.root / "data/replay").mkdir(exist_ok=True)
    (shop.root / "data/replay/general.jsonl").write_text("".join(json.dumps(line) + "\n" for line in texts), "utf-8")
    shop.run("dvc", "add", "-q", "data/base/tiny")
    chain = {
        "families": [family],
        "base": "data/base/tiny",
        "replay.samples": 0,
        "finetune.tasks": {},
        "annotate.limit": 0,
    }
    shop.set_all(chain | {f"pretrain.{family}.from_base.epochs": 0.05})
    shop.repro()
    report = shop.json(f"reports/pretrain/{family}.json")
    assert report["validation_loss"] < report["start_loss"]
    evaluated = shop.json(f"reports/evaluate/{family}.json")
    measured = evaluated["test"]
    assert measured["before"]["difference"] < 0
    assert report["rows_known"] > 0, "general text is read again"
    assert evaluated["general_text"]["texts"] > 0
    exported = shop.root / f"data/export/{family}"
    assert json.loads((exported / "config.json").read_text("utf-8"))["model_type"] == kind
    learnt = shop.json("reports/tokenizer.json")
    assert ("unknown_tokens" in learnt) == (kind != "roberta")
    assert (learnt["round_trip_documents"] == learnt["sample_documents"]) == (kind == "roberta")
