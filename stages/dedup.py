"""dedup: clean documents in, one of each cluster of duplicates out, and a sample of these.

data/clean -> data/dedup, reports/dedup.json
"""

from pathlib import Path

from privllm.core.params import read_params
from privllm.core.report import write_report
from privllm.core.split import SplitConfig
from privllm.dedup.recipe import DedupConfig, dedup
from privllm.engine.stage import run
from privllm.engine.store import Store
from privllm.tokens.vocabulary_sample import SampleConfig, write_sample


def main(source: Path, out: Path, report: Path, store: Store) -> None:
    cfg = read_params("dedup", DedupConfig)
    split = read_params("split", SplitConfig)
    write_report(report, dedup(cfg, split, source, out, store))
    sample = read_params("sample", SampleConfig)
    write_sample(sample, out, out / "sample", store)


if __name__ == "__main__":
    run(main)
