"""Set-up of every stage before anything heavy is imported.

Only the code that was hashed is imported, and Ctrl-C during imports is explained. Garbage
collection is off, for imports leave none and looking for it takes a sixth of their time. Arrow uses
the system's allocator, which returns freed memory (its own keeps about 40 MB).
"""

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
