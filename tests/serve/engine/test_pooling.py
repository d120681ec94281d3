import json
from pathlib import Path
from typing import Any

import pytest
import torch

from privllm.core.errors import UserError
from privllm.serve.engine.pooling import FIRST, LARGEST, LAST, MEAN, Pooling, read_pooling

HIDDEN = torch.tensor([[[1.0, -4.0], [3.0, -2.0], [9.0, 9.0]], [[2.0, 0.0], [4.0, 1.0], [6.0, 5.0]]])
COUNTED = torch.tensor([[True, True, False], [True, True, True]])


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        (MEAN, [[2.0, -3.0], [4.0, 2.0]]),
        (FIRST, [[1.0, -4.0], [2.0, 0.0]]),
        (LAST, [[3.0, -2.0], [6.0, 5.0]]),
        (LARGEST, [[3.0, -2.0], [6.0, 5.0]]),
    ],
)
def test_tokens_that_do_not_count_change_nothing(mode: str, wanted: list[list[float]]) -> None:
    hidden = HIDDEN.clone()
    hidden[0, 2] = float("nan")  # what a model may leave behind padding
    assert Pooling(mode, normalised=False).pool(hidden, COUNTED).tolist() == wanted
    assert Pooling(mode).pool(hidden, COUNTED).norm(dim=1).tolist() == pytest.approx([1, 1])


def folder_of(root: Path, kinds: list[str], pooling: dict[str, Any], **files: Any) -> Path:
    steps = [
        {"idx": i, "path": "" if i == 0 else f"{i}_{kind}", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (root / "modules.json").write_text(json.dumps(steps))
    (root / "1_Pooling").mkdir(exist_ok=True)
    (root / "1_Pooling/config.json").write_text(json.dumps(pooling))
    for name, value in files.items():
        (root / f"{name}.json").write_text(json.dumps(value))
    return root


def test_a_folder_of_sentence_transformers_is_pooled_as_it_says(tmp_path: Path) -> None:
    assert read_pooling(tmp_path) == Pooling()
    kinds = ["Transformer", "Pooling", "Normalize"]
    old = {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    assert read_pooling(folder_of(tmp_path, kinds, old)) == Pooling(MEAN, with_special=True)
    assert read_pooling(folder_of(tmp_path, kinds[:2], {"pooling_mode": "cls"})) == Pooling(FIRST, True, False)
    files = {
        "sentence_bert_config": {"max_seq_length": 256, "do_lower_case": True},
        "config_sentence_transformers": {"prompts": {"query": "query: "}, "default_prompt_name": "query"},
    }
    wanted = Pooling(LAST, True, True, 256, True, "query: ")
    assert read_pooling(folder_of(tmp_path, kinds, {"pooling_mode_lasttoken": True}, **files)) == wanted


@pytest.mark.parametrize(
    ("kinds", "pooling", "reason"),
    [
        (["Transformer", "Pooling", "Dense"], {"pooling_mode": "mean"}, "its steps are Transformer, Pooling, Dense"),
        (["Transformer"], {}, "its steps are Transformer"),
        (["Transformer", "Pooling"], {"pooling_mode_weightedmean_tokens": True}, "pooling_mode_weightedmean_tokens"),
        (["Transformer", "Pooling"], {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "mean, cls"),
        (["Transformer", "Pooling"], {"pooling_mode": "magic"}, "it pools by magic"),
        (["Transformer", "Pooling"], {}, "it pools by nothing"),
    ],
)
def test_what_cannot_be_done_is_named(kinds: list[str], pooling: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason):
        read_pooling(folder_of(tmp_path, kinds, pooling))


@pytest.mark.parametrize(
    "steps", ["{", "[5]", '[{"type": "a.Transformer", "path": "../.."}]', '[{"type": "a.Transformer", "path": "x"}]']
)
def test_a_broken_list_of_steps_is_refused(steps: str, tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text(steps)
    with pytest.raises(UserError, match=r"modules\.json|its model lies in x"):
        read_pooling(tmp_path)
