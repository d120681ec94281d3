"""Number of cores that this process may use; as many processes work at once."""

import os


def available_cores() -> int:
    """Return how many cores this process may run on.

    Where the system does not say (macOS), it is the number of the machine's cores.
    """
    # On Linux, `taskset`, batch systems and containers give a process fewer cores than the machine
    # has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
