"""tokenizer: a sample of documents in, a byte-level BPE vocabulary (or that of the base, or the kept one) out.

data/dedup/sample, data/start/tokenizer, data/vocabulary -> data/tokenizer, reports/tokenizer.json
"""

from pathlib import Path

from privllm.core.params import read_params
from privllm.core.printable import say
from privllm.core.report import write_report
from privllm.core.vocabulary_fit import misfit
from privllm.engine.stage import run
from privllm.engine.store import Store
from privllm.tokens.vocabulary import TokenizerConfig, learn_tokenizer
from privllm.tokens.vocabulary_sample import SampleConfig


def main(sample: Path, start: Path, vocabulary: Path, out: Path, report: Path, store: Store) -> None:
    cfg = read_params("tokenizer", TokenizerConfig)
    sampled = read_params("sample", SampleConfig)
    counts = learn_tokenizer(cfg, sample, out, store, start, vocabulary, sampled)
    write_report(report, counts)
    if words := misfit(counts):
        say(f"vocabulary: {words}")


if __name__ == "__main__":
    run(main)
