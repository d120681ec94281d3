"""guide: packed rows and annotations in, what each packed token is out; for families that are trained with it.

data/pack, data/dedup, data/annotate, data/tokenizer -> data/guide/<family>, reports/guide.json
"""

from pathlib import Path

from privllm.core.params import read_params
from privllm.core.report import write_report
from privllm.engine.stage import run
from privllm.engine.store import open_store
from privllm.tokens.token_annotations import GuideConfig, GuideInputs, make_guide


def main(rows: Path, documents: Path, annotations: Path, tokenizer: Path, out: Path, report: Path) -> None:
    cfg = read_params("guide", GuideConfig)
    write_report(report, make_guide(cfg, GuideInputs(rows, documents, annotations, tokenizer), out, open_store("guide")))


if __name__ == "__main__":
    run(main)
