"""guide: packed rows and annotations in, annotations of each packed token out.

data/pack, data/dedup, data/annotate, data/tokenizer -> data/guide/<family>, reports/guide.json
"""

from pathlib import Path

from privllm.core.params import read_params
from privllm.core.report import write_report
from privllm.engine.stage import run
from privllm.engine.store import Store
from privllm.tokens.token_annotations import GuideConfig, GuideInputs, make_guide


def main(
    rows: Path, documents: Path, annotations: Path, tokenizer: Path, out: Path, report: Path, store: Store
) -> None:
    cfg = read_params("guide", GuideConfig)
    inputs = GuideInputs(rows, documents, annotations, tokenizer)
    write_report(report, make_guide(cfg, inputs, out, store))


if __name__ == "__main__":
    run(main)
