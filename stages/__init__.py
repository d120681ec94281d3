"""Before anything heavy is imported: what runs is the code that was hashed; Ctrl-C may come meanwhile; what comes is no garbage
(looking for it takes a sixth of the time); and Arrow shall give back what it frees (its own allocator keeps some 40 MB)."""

import gc
import os
from pathlib import Path

from privllm.engine.import_guard import guard_imports, runs_a_stage
from privllm.engine.interrupt import explain_interrupts

explain_interrupts()  # the guard may refuse a module, and says so by an error

if runs_a_stage():
    guard_imports(Path.cwd())

import privllm.core.offline  # noqa: E402, F401  (first: what it sets is read when libraries are loaded)

os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
gc.disable()  # until `engine.stage.run`
