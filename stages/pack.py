"""pack: documents in, rows of tokens out that say which document each token came from.

data/dedup, data/tokenizer, data/promoted/weak_spots.json -> data/pack/{train,validation,test,copied},
reports/pack.json
"""

from pathlib import Path

from privllm.core.params import read_params
from privllm.core.report import write_report
from privllm.engine.stage import run
from privllm.engine.store import Store
from privllm.tokens.copied_tokens import write_copied_tokens
from privllm.tokens.pack import PackConfig, pack


def main(source: Path, tokenizer: Path, promoted: Path, out: Path, report: Path, store: Store) -> None:
    cfg = read_params("pack", PackConfig)
    write_report(report, pack(cfg, source, tokenizer, out, store, promoted))
    write_copied_tokens(source, tokenizer, out / "copied", store)


if __name__ == "__main__":
    run(main)
