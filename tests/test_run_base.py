"""`make run-base` without its training: the parameters that it sets, the pages that it takes, and how answers are judged."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.run_base import CLOZES, QUESTIONS, cloze_nats, copy_pages, right, write_params
from privllm.core.params import load_sections
from privllm.parameters.check import faults_of
from tests.foreign import save_foreign

ROOT = Path(__file__).resolve().parent.parent


def test_its_parameters_are_legal(tmp_path: Path) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "stages", tmp_path / "stages")
    (tmp_path / "data/base/smollm2").mkdir(parents=True)
    for _ in range(2):  # it may be run again
        write_params(tmp_path, 0.5)
        sections = load_sections(tmp_path / "params.yaml")
        assert (sections["families"], sections["base"]) == (["causal"], "data/base/smollm2")
        assert sections["pretrain"]["causal"]["from_base"] == {"epochs": 0.5}
        assert sections["export"]["gguf"] == ["q8_0"]
        assert faults_of(tmp_path) == []


def test_pages_are_taken_without_lists_of_words_and_links(tmp_path: Path) -> None:
    book = tmp_path / "unpacked/usr/share/doc/book"
    book.mkdir(parents=True)
    for name in ("one.html", "genindex.html", "notes.txt"):
        (book / name).write_text("<p>text</p>", "utf-8")
    (book / "link.html").symlink_to(book / "one.html")
    copy_pages(tmp_path / "unpacked", tmp_path / "sources")
    assert [path.relative_to(tmp_path / "sources").as_posix() for path in tmp_path.rglob("sources/*/*")] == [
        "book/one.html"
    ]


def test_an_answer_is_right_where_it_has_the_word() -> None:
    answers = [""] * len(QUESTIONS)
    answers[0], answers[9], answers[10] = "The capital of France is Paris.", "2 + 2 equals 4.", "The symbol is Au."
    answers[29] = "Nobody knows."
    assert [place for place, is_right in enumerate(right(answers)) if is_right] == [0, 9, 10]
    assert right(["Austria"] * len(QUESTIONS))[10] is False


def test_an_answer_is_as_likely_as_the_model_says(tmp_path: Path) -> None:
    save_foreign(tmp_path, "causal", "llama")
    nats = cloze_nats(tmp_path)
    assert len(nats) == len(CLOZES)
    sentence, answer = CLOZES[2]
    assert sentence.endswith("/"), "no space stands before its answer"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    before, after = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (sentence, answer))
    expected = 0.0
    for place, token in enumerate(after):
        with torch.no_grad():
            logits = model(torch.tensor([[*before, *after[:place]]])).logits[0, -1]
        expected -= float(logits.log_softmax(-1)[token])
    assert nats[2] == pytest.approx(expected, abs=1e-3)
