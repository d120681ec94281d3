import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, GenerationConfig, Qwen3Config

from privllm.models.end_tokens import ends_in, note_ends


@pytest.mark.parametrize(
    ("config", "generation", "ends", "wanted"),
    [
        (0, 0, (0, 5), [0, 5]),
        (0, 0, (0,), 0),
        (2, [2, 7], (7, 9), [2, 7, 9]),
        (None, None, (4,), 4),
        ([1, 3], None, (3,), [1, 3]),
    ],
)
def test_both_files_name_every_end(
    tmp_path: Path, config: Any, generation: Any, ends: tuple[int, ...], wanted: Any
) -> None:
    Qwen3Config(eos_token_id=config, hidden_size=32).save_pretrained(tmp_path)
    GenerationConfig(eos_token_id=generation, pad_token_id=1).save_pretrained(tmp_path)
    note_ends(tmp_path, ends)
    assert AutoConfig.from_pretrained(tmp_path).eos_token_id == wanted
    loaded = GenerationConfig.from_pretrained(tmp_path)
    assert (loaded.eos_token_id, loaded.pad_token_id) == (wanted, 1)
    assert AutoConfig.from_pretrained(tmp_path).hidden_size == 32


def test_what_named_all_already_keeps_its_bytes(tmp_path: Path) -> None:
    Qwen3Config(eos_token_id=[0, 5]).save_pretrained(tmp_path)
    GenerationConfig(eos_token_id=[0, 5]).save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    note_ends(tmp_path, (0, 5))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_without_settings_of_generation_gets_some(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 0}))
    note_ends(tmp_path, (5,))
    assert GenerationConfig.from_pretrained(tmp_path).eos_token_id == [0, 5]
    assert ends_in({}) == []
