"""How many processes work at once: one on each core that this one may use."""

import os


def available_cores() -> int:
    """Count the cores that this process may run on; where the system does not say (macOS), all of the machine's."""
    if hasattr(os, "sched_getaffinity"):  # Linux: `taskset`, batch systems and containers give a process fewer than there are
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
