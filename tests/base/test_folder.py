import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from privllm.base.folder import contents_of, copy_model
from privllm.core.errors import UserError
from tests.export.gguf_models import change_json, tiny_model


@pytest.fixture
def model(exported: Callable[..., Path], tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "model", "llama", exported())


def in_parts(model: Path) -> None:
    """Have its weights in two files and an index."""
    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    names = sorted(weights)
    index = {}
    for number, part in enumerate((names[:5], names[5:]), 1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, model / file)
        index |= dict.fromkeys(part, file)
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def test_what_a_build_needs_arrives_and_nothing_else(model: Path, tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "modeling_x.py", "notes.txt", "LICENSE", ".hidden"):
        (model / name).write_text("x")
    (model / "onnx").mkdir()
    (model / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\n# A model\nlicense: other\n")
    dropped = copy_model(model, tmp_path / "out")
    assert dropped == [
        "README.md",
        "modeling_x.py (code)",
        "notes.txt",
        "onnx/",
        "pytorch_model.bin (a pickle or the like)",
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("LICENSE", "chat_template.jinja", "config.json", "generation_config.json"),
        *("model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    ]
    contents = contents_of(tmp_path / "out", model, dropped)
    assert (contents.architecture, contents.family, contents.licence) == ("llama", "causal", "mit")
    assert (contents.context, contents.has_template) == (256, True)
    assert contents.parameters == sum(weights.numel() for weights in load_file(model / "model.safetensors").values())


@pytest.mark.parametrize("family", ["causal", "masked", "seq2seq"])
def test_every_family_has_models(built: Path, tmp_path: Path, family: str) -> None:
    shutil.copytree(built / "pretrain" / family, tmp_path / "m")
    shutil.copyfile(built / "tokenizer/tokenizer.json", tmp_path / "m/tokenizer.json")
    copy_model(tmp_path / "m", tmp_path / "out")
    assert contents_of(tmp_path / "out", tmp_path / "m", []).family == family


def test_a_licence_may_be_a_file_alone_or_not_told(model: Path) -> None:
    assert contents_of(model, model, []).licence == ""
    (model / "LICENSE.md").write_text("...")
    assert contents_of(model, model, []).licence == "see LICENSE.md"


def test_names_of_code_are_dropped(model: Path, tmp_path: Path) -> None:
    change_json(model / "config.json", auto_map={"AutoModel": "modeling_x.X"})
    assert copy_model(model, tmp_path / "out") == ["`auto_map` in config.json (names code)"]
    assert "auto_map" not in (tmp_path / "out/config.json").read_text("utf-8")


def test_one_of_several_templates_is_the_template(model: Path, tmp_path: Path) -> None:
    templates = [{"name": "tools", "template": "a"}, {"name": "default", "template": "b"}]
    change_json(model / "tokenizer_config.json", chat_template=templates)
    copy_model(model, tmp_path / "out")
    assert (tmp_path / "out/chat_template.jinja").read_text("utf-8") == "b"


def test_links_arrive_as_files(model: Path, tmp_path: Path) -> None:
    """As in the cache of Hugging Face."""
    (tmp_path / "blob").write_bytes((model / "model.safetensors").read_bytes())
    (model / "model.safetensors").unlink()
    (model / "model.safetensors").symlink_to(tmp_path / "blob")
    copy_model(model, tmp_path / "out")
    assert not (tmp_path / "out/model.safetensors").is_symlink()


def test_weights_in_parts(model: Path, tmp_path: Path) -> None:
    whole = contents_of(model, model, [])
    in_parts(model)
    copy_model(model, tmp_path / "out")
    assert contents_of(tmp_path / "out", model, []) == whole


def added(model: Path, out: Path) -> None:
    copy_model(model, out)
    contents_of(out, model, [])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "gpt_neox"}, "holds a gpt_neox model, which the build cannot train"),
        ({"model_type": "own", "auto_map": {"AutoModel": "x.X"}}, "code that lies beside it, which is never run"),
        ({"quantization_config": {"bits": 4}}, "quantized weights"),
        ({"num_hidden_layers": 3}, r"not whole: model\.layers\.2\."),
        ({"num_hidden_layers": 10**12}, r"not whole: model\.layers\.2\."),
        ({"vocab_size": 100}, "are of different models"),
    ],
)
def test_what_cannot_be_trained_is_said(model: Path, tmp_path: Path, changes: dict[str, object], said: str) -> None:
    change_json(model / "config.json", **changes)
    with pytest.raises(UserError, match=said):
        added(model, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", None, r"holds no config\.json"),
        ("config.json", b"{", "is not valid JSON"),
        ("config.json", b"[]", "should hold a JSON object"),
        ("tokenizer.json", None, r"there is no tokenizer\.json"),
        ("tokenizer.json", b"{}", r"tokenizer\.json cannot be read"),
        ("model.safetensors", None, "so it holds no weights"),
        ("model.safetensors", b"", "is damaged or not whole"),
        ("model.safetensors", b"\xff" * 100, "is damaged or not whole"),
    ],
)
def test_bad_files_are_named(model: Path, tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    (model / name).unlink()
    if content is not None:
        (model / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        added(model, tmp_path / "out")


def test_a_pickle_is_not_opened(model: Path, tmp_path: Path) -> None:
    os.rename(model / "model.safetensors", model / "pytorch_model.bin")  # noqa: PTH104
    with pytest.raises(UserError, match=r"pytorch_model\.bin is a pickle"):
        added(model, tmp_path / "out")


def test_numbers_that_are_no_floats_are_refused(model: Path, tmp_path: Path) -> None:
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"] = torch.ones(64, dtype=torch.int8)
    save_file(weights, model / "model.safetensors")
    with pytest.raises(UserError, match="quantized weights cannot be trained"):
        added(model, tmp_path / "out")


@pytest.mark.parametrize(
    ("weight_map", "said"),
    [
        ({}, "does not say which file"),
        ({"a": 1}, "does not say which file"),
        ({"a": "../model.safetensors"}, r"names \.\./model\.safetensors"),
        ({"a": "model.bin"}, "is no file of safetensors"),
        ({"a": "model-00003-of-00003.safetensors"}, "is not whole"),
        ({"a": "model-00001-of-00002.safetensors"}, "a are missing"),
    ],
)
def test_an_index_that_is_not_true_is_refused(
    model: Path, tmp_path: Path, weight_map: dict[str, object], said: str
) -> None:
    in_parts(model)
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(UserError, match=said):
        added(model, tmp_path / "out")
