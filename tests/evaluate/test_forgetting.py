"""What was forgotten is a relative change of the loss on the same texts."""

from pathlib import Path

import numpy as np
import pytest

from privllm.core.base_model import NOTE
from privllm.core.report import write_json
from privllm.core.special_tokens import ASSISTANT, END_OF_TURN, USER
from privllm.evaluate.config import EvaluateConfig
from privllm.evaluate.forgetting import compare_general, replies_in, score_general
from privllm.evaluate.own_figures import own_figures
from privllm.evaluate.recipe import EvaluateInputs, evaluate
from privllm.evaluate.rules import FIGURES, REMEMBERED
from privllm.evaluate.scoring import ScoredDocument
from privllm.models.loading import load
from privllm.tokens.chat_format import Speech
from privllm.tokens.general_text import FILE, MEASURED, GeneralText, NewText, ReplayConfig, read_general, write_general
from privllm.tokens.special_ids import special_ids


def scored(*nats: list[float]) -> list[ScoredDocument]:
    documents = []
    for number, values in enumerate(nats):
        places = np.arange(len(values))
        documents.append(ScoredDocument(str(number), places, places, np.array(values), places > 0))
    return documents


def test_a_change_is_of_the_sum_of_all_texts() -> None:
    found = compare_general(scored([1, 3], [4]), scored([2, 3], [5]), {})
    assert (found["nats_before"], found["nats_after"]) == (
        pytest.approx(8 / 3, abs=1e-6),
        pytest.approx(10 / 3, abs=1e-6),
    )
    assert (found["change"], found["interval"], found["texts"], found["tokens"]) == (0.25, None, 2, 3)
    many = [[1.0 + number, 2.0] for number in range(12)]
    same = compare_general(scored(*many), scored(*many), {})
    assert (same["change"], same["interval"]) == (0.0, [0.0, 0.0])
    low, high = compare_general(scored(*many), scored(*[[2.0 * a, b] for a, b in many]), {})["interval"]
    assert low < compare_general(scored(*many), scored(*[[2.0 * a, b] for a, b in many]), {})["change"] < high


def test_replies_have_a_change_of_their_own() -> None:
    before, after = scored([1, 3, 4], [9, 9], [2, 2]), scored([9, 3, 5], [0, 0], [9, 4])
    found = compare_general(before, after, {"0": 1, "2": 1})["replies"]
    assert (found["texts"], found["tokens"]) == (2, 3)
    assert (found["nats_before"], found["nats_after"]) == (3.0, 4.0)
    assert found["change"] == pytest.approx(1 / 3, abs=1e-6)


def test_a_reply_begins_behind_its_mark(inputs: EvaluateInputs) -> None:
    speech = Speech(inputs.tokenizer)
    question = speech.ids("What is a valve?")
    talk = [0, USER, *question, END_OF_TURN, ASSISTANT, 99, 98, END_OF_TURN]
    texts = [
        GeneralText("talk", MEASURED, np.array(talk), 2),
        GeneralText("text", MEASURED, np.array([0, *question]), 1),
    ]
    assert replies_in(texts, speech) == {"talk": 3 + len(question)}, "the first id of a text is not scored"


def test_evaluate_measures_a_base_and_its_successor(inputs: EvaluateInputs, tmp_path: Path) -> None:
    """The base is the trained model itself but for one layer, so the figures are those that scoring by hand gives."""
    start = tmp_path / "start"
    base = load("causal", inputs.model)
    for parameter in base.parameters():
        parameter.data.mul_(0.9)
    base.save_pretrained(start)
    write_json(start / NOTE, {"start": "data/base/x", "added": {}})
    texts = [[0, *np.random.default_rng(number).integers(6, 300, 15).tolist()] for number in range(40)]
    counts = write_general(ReplayConfig(measured=0.5), [NewText(text, given=4) for text in texts], start / FILE)
    measured = read_general(start, MEASURED)
    assert len(measured) == counts["measured"] > 10
    cfg = EvaluateConfig(continuations=0, samples=0, bootstrap=0, own_texts=3)
    report = evaluate(cfg, inputs._replace(start=start), "causal", tmp_path / "out")
    special = special_ids(inputs.tokenizer)
    before, after = (
        sum(document.nats.sum() for document in score_general("causal", model, special, measured, 8))
        for model in (load("causal", start), load("causal", inputs.model))
    )
    assert report[REMEMBERED]["change"] == pytest.approx(after / before - 1, abs=1e-5)
    assert report[REMEMBERED]["tokens"] == 12 * len(measured), "what was given is only read"
    figures = own_figures(tmp_path)
    assert figures["out.general_text"].difference == report[REMEMBERED]["change"]
    assert figures["out.copied_runs"].units == 3
    assert (tmp_path / "out" / FIGURES).is_file()


def test_a_model_from_scratch_has_nothing_to_forget(inputs: EvaluateInputs, tmp_path: Path) -> None:
    cfg = EvaluateConfig(continuations=0, samples=0, bootstrap=0, own_texts=0)
    assert REMEMBERED not in evaluate(cfg, inputs, "causal", tmp_path / "out")
    assert own_figures(tmp_path) == {}
