"""Compiling is a choice that falls back in words, and keeps no pickles."""

import os

import torch._functorch.config
import torch._inductor.config

from privllm.engine.import_guard import COMPILED
from privllm.train import compile_support
from privllm.train.compile_support import prepare_compiler


def own_caches(monkeypatch) -> None:
    """Let the test set where compilers keep what they compile."""
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "unset")


def test_not_wanted_is_not_done(tmp_path, monkeypatch) -> None:
    own_caches(monkeypatch)
    assert prepare_compiler("false", tmp_path) is False
    assert os.environ["TRITON_CACHE_DIR"] == "unset"


def test_on_a_gpu_what_attention_compiles_stays_with_the_training_in_any_case(tmp_path, monkeypatch) -> None:
    own_caches(monkeypatch)
    monkeypatch.setattr(compile_support, "on_gpu", lambda: True)
    assert prepare_compiler("false", tmp_path) is False
    assert os.environ["TRITON_CACHE_DIR"] == str(tmp_path / COMPILED / "triton")
    assert torch._inductor.config.fx_graph_cache is False


def test_by_itself_it_is_done_on_a_gpu_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(compile_support, "_missing", lambda: "")
    own_caches(monkeypatch)
    for has_gpu in (False, True):
        monkeypatch.setattr(compile_support, "on_gpu", lambda has_gpu=has_gpu: has_gpu)
        assert prepare_compiler("auto", tmp_path) is has_gpu


def test_no_compiler_falls_back_with_a_note(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(compile_support.torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CXX", "no-such-compiler")
    own_caches(monkeypatch)
    assert prepare_compiler("true", tmp_path) is False
    assert "no C++ compiler" in capsys.readouterr().err


def test_triton_compiles_into_the_folder_from_its_first_question_on(tmp_path, monkeypatch) -> None:
    """Asked whether it is there, Triton compiles its driver and loads it as a module."""
    own_caches(monkeypatch)
    asked = []
    monkeypatch.setattr(compile_support, "_missing", lambda: asked.append(os.environ["TRITON_CACHE_DIR"]) or "")
    prepare_compiler("true", tmp_path)
    assert asked == [str(tmp_path / COMPILED / "triton")]


def test_graph_caches_are_off(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(compile_support, "_missing", lambda: "")
    own_caches(monkeypatch)
    assert prepare_compiler("true", tmp_path) is True
    assert torch._inductor.config.fx_graph_cache is False
    assert torch._functorch.config.enable_autograd_cache is False
