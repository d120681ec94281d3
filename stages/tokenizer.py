"""tokenizer: a sample of documents in, a byte-level BPE vocabulary (or that of the base) out.

data/dedup/sample, data/start/tokenizer -> data/tokenizer, reports/tokenizer.json
"""

from pathlib import Path

from privllm.core.params import read_params
from privllm.core.report import write_report
from privllm.engine.stage import run
from privllm.engine.store import Store
from privllm.tokens.vocabulary import TokenizerConfig, learn_tokenizer


def main(sample: Path, start: Path, out: Path, report: Path, store: Store) -> None:
    cfg = read_params("tokenizer", TokenizerConfig)
    write_report(report, learn_tokenizer(cfg, sample, out, store, start))


if __name__ == "__main__":
    run(main)
