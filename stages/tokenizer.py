"""tokenizer: documents in, a byte-level BPE vocabulary out, learnt on a sample chosen by id.

data/dedup -> data/tokenizer, reports/tokenizer.json
"""

from pathlib import Path

from privllm.core.params import read_params
from privllm.core.report import write_json
from privllm.core.split import SplitConfig
from privllm.core.stage import run
from privllm.core.store import open_store
from privllm.tokens.vocabulary import TokenizerConfig, learn_tokenizer


def main(source: Path, out: Path, report: Path) -> None:
    cfg = read_params("tokenizer", TokenizerConfig)
    write_json(report, learn_tokenizer(cfg, read_params("split", SplitConfig), source, out, open_store("tokenizer")))


if __name__ == "__main__":
    run(main)
