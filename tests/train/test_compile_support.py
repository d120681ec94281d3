"""Compiling is a choice that falls back in words, and keeps no pickles."""

import torch._functorch.config
import torch._inductor.config

from privllm.train import compile_support
from privllm.train.compile_support import prepare_compiler


def test_not_wanted_is_not_done(tmp_path) -> None:
    assert prepare_compiler(False, tmp_path) is False


def test_no_compiler_falls_back_with_a_note(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(compile_support.torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert prepare_compiler(True, tmp_path) is False
    assert "no C++ compiler" in capsys.readouterr().err


def test_graph_caches_are_off(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(compile_support, "_missing", lambda: "")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "unset")
    assert prepare_compiler(True, tmp_path) is True
    assert torch._inductor.config.fx_graph_cache is False
    assert torch._functorch.config.enable_autograd_cache is False
