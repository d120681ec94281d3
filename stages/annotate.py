"""annotate: documents in, parts of speech, dependencies and entities out.

data/dedup, data/validate/verdict.json, data/base -> data/annotate, reports/annotate.json

A share of the documents is annotated, chosen by id, of those splits whose annotations are read.
"""

from pathlib import Path

from privllm.annotate.readers import splits_read
from privllm.annotate.recipe import AnnotateConfig, annotate
from privllm.core.families import MASKED
from privllm.core.params import deciding_sections, read_params
from privllm.core.report import write_report
from privllm.engine.stage import require_verdict, run
from privllm.engine.store import Store

SECTIONS = ("annotate", "finetune", "tasks")  # of params.yaml, `families`, and `masking` of the masked family


def main(source: Path, verdict: Path, base: Path, out: Path, report: Path, store: Store) -> None:
    require_verdict(verdict)
    cfg = read_params("annotate", AnnotateConfig)
    params = deciding_sections()
    masking = params["pretrain"][MASKED.name]["masking"]
    splits = splits_read(params["families"], masking, params["tasks"]["derive"], params["finetune"]["tasks"])
    write_report(report, annotate(cfg, source, base, out, store, splits))


if __name__ == "__main__":
    run(main)
