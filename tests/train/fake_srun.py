"""What SLURM's srun does, on this machine alone: so many tasks of a command, with its variables; where one fails, all end.

It knows the options that privllm gives, and no others. It says on stderr which task failed, as srun does.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = '#!/bin/sh\nexec "{python}" "{file}" "$@"\n'


def install(folder: Path) -> None:
    """Make `srun` a program in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "srun"
    program.write_text(SCRIPT.format(python=sys.executable, file=Path(__file__).resolve()))
    program.chmod(0o755)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--ntasks", type=int, required=True)
    parser.add_argument("--ntasks-per-node", type=int, required=True)
    parser.add_argument("--kill-on-bad-exit", choices=["1"], required=True)
    parser.add_argument("--wait", choices=["0"], required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    assert args.ntasks == args.nodes * args.ntasks_per_node
    tasks = []
    for number in range(args.ntasks):
        told = {"SLURM_PROCID": number, "SLURM_LOCALID": number % args.ntasks_per_node, "SLURM_NTASKS": args.ntasks}
        environment = os.environ | {name: str(value) for name, value in told.items()}
        tasks.append(subprocess.Popen(args.command, env=environment))

    def hand_on(number: int, _: object) -> None:
        for task in tasks:
            task.send_signal(number)

    signal.signal(signal.SIGTERM, hand_on)
    while any(task.poll() is None for task in tasks):
        for number, task in enumerate(tasks):
            if task.poll():
                node = number // args.ntasks_per_node
                print(f"srun: error: node{node}: task {number}: exit code {task.returncode}", file=sys.stderr)
                for other in tasks:
                    other.kill()
                    other.wait()
                return 1
        time.sleep(0.05)
    return max(task.returncode for task in tasks)


if __name__ == "__main__":
    sys.exit(main())
