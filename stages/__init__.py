"""Before anything heavy is imported: Ctrl-C may come meanwhile, and what comes is no garbage (looking for it takes a sixth of the time)."""

import gc

from privllm.core.interrupt import explain_interrupts

explain_interrupts()
gc.disable()  # until `core.stage.run`
