"""Whether this machine can run `torch.compile`, and a private place for what it compiles.

Inductor's graph caches are pickles, so they are off; compiled kernels (shared objects named by a hash of their
source) are kept beside the checkpoints, not in /tmp, where other people of the machine could lay theirs.
"""

import os
import shutil
import sysconfig
from pathlib import Path

import torch

from privllm.core.printable import say
from privllm.engine.import_guard import COMPILED
from privllm.models.devices import on_gpu


def prepare_compiler(wanted: str, stage: Path) -> bool:
    """Return whether to compile: "true", "false", or on a GPU ("auto"). Where it is wanted and not possible, a note on stderr says so.

    On a GPU attention is compiled whatever is wanted, so kernels are kept there in any case.
    `stage` is the folder of the stage's checkpoints, beside which they lie.
    """
    is_wanted = wanted == "true" or (wanted == "auto" and on_gpu())
    if is_wanted or on_gpu():
        _compile_into(stage.resolve() / COMPILED)  # before Triton is asked for: it compiles its driver at once
    if not is_wanted:
        return False
    missing = _missing()
    if missing:
        say(f"note: {missing}, so training runs without torch.compile: equally good, about a fifth slower.", err=True)
    return not missing


def _compile_into(cache: Path) -> None:
    """Have kernels kept in `cache`, and no pickles anywhere."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache)
    os.environ["TRITON_CACHE_DIR"] = str(cache / "triton")
    import torch._functorch.config
    import torch._inductor.config

    torch._inductor.config.fx_graph_cache = False
    torch._functorch.config.enable_autograd_cache = False


def _missing() -> str:
    """Return what `torch.compile` lacks on this machine, or "" if nothing."""
    if on_gpu():
        return "" if torch.utils._triton.has_triton() else "Triton is not installed"
    if not shutil.which(os.environ.get("CXX", "g++")):
        return "there is no C++ compiler (g++, or what CXX names)"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "Python's C headers are not installed"
    return ""
