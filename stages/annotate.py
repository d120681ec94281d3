"""annotate: documents in, spans of parts of speech, dependencies and entities out, for a share chosen by id.

data/dedup, data/validate/verdict.json -> data/annotate, reports/annotate.json
"""

from pathlib import Path

from privllm.annotate.recipe import AnnotateConfig, annotate
from privllm.core.params import read_params
from privllm.core.report import write_json
from privllm.core.split import SplitConfig
from privllm.core.stage import require_verdict, run
from privllm.core.store import open_store


def main(source: Path, verdict: Path, out: Path, report: Path) -> None:
    require_verdict(verdict)
    cfg = read_params("annotate", AnnotateConfig)
    write_json(report, annotate(cfg, read_params("split", SplitConfig), source, out, open_store("annotate")))


if __name__ == "__main__":
    run(main)
