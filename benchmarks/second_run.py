"""A second `make run`, with nothing changed: wall seconds, three times. Build once before (`make run`)."""

import statistics
import subprocess
import time

from benchmarks.common import ROOT, write_result


def main() -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(["make", "run"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        seconds.append(round(time.perf_counter() - start, 2))
    print(f"second `make run`, median of 3: {statistics.median(seconds)} s  (must be <= 15)")
    write_result("second_run", {"seconds": seconds, "median": statistics.median(seconds)})


if __name__ == "__main__":
    main()
