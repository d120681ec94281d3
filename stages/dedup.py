"""dedup: clean documents in, one of each cluster of duplicates out without the lines its site repeats, and a sample.

data/clean, data/promoted/sides -> data/dedup, reports/dedup.json
"""

from pathlib import Path

from privllm.core.params import read_params
from privllm.core.printable import say
from privllm.core.report import write_report
from privllm.core.split import SplitConfig
from privllm.dedup.copied_runs import find_copied_runs
from privllm.dedup.recipe import DedupConfig, dedup
from privllm.dedup.repeated_lines import LIST
from privllm.engine.stage import run
from privllm.engine.store import Store
from privllm.tokens.vocabulary_sample import SampleConfig, write_sample


def main(source: Path, sides: Path, out: Path, report: Path, store: Store) -> None:
    cfg = read_params("dedup", DedupConfig)
    split = read_params("split", SplitConfig)
    counts = dedup(cfg, split, source, out, store, sides)
    counts["held_out"] = find_copied_runs(out, out / "copied", store)
    write_report(report, counts)
    if removed := counts["repeated_lines"]["lines"]:
        pages = counts["repeated_lines"]["pages"]
        say(f"dedup removed {removed:,} lines that {pages:,} pages repeat at their ends; each of them: {out / LIST}")
    sample = read_params("sample", SampleConfig)
    write_sample(sample, out, out / "sample", store)


if __name__ == "__main__":
    run(main)
