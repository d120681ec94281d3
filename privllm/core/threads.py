"""Settings by which threads that wait for each other soon sleep.

So processes on one machine share its cores.

By default OpenMP's threads spin while they wait. Alone that gains a few per cent; beside another
process that does the same (two trainings, or a server beside a build), each spins on the core that
the other needs, and both make no progress. A thousand turns, about 20 microseconds, are enough for
the threads of one training to meet, and too few to delay anybody (`benchmarks/threads.py`; with
none at all one training alone loses a sixth).

OpenMP reads the environment when it is loaded, so this must come before torch: `core.offline`
imports it, and is itself the first import of every process of ours. What people have set themselves
stays.
"""

import os

SLEEP = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}

if not SLEEP.keys() & os.environ.keys():
    os.environ.update(SLEEP)
