"""annotate: documents in, spans of parts of speech, dependencies and entities out, for a share chosen by id, as far as anything reads them.

data/dedup, data/validate/verdict.json -> data/annotate, reports/annotate.json
"""

from pathlib import Path

from privllm.annotate.readers import splits_read
from privllm.annotate.recipe import AnnotateConfig, annotate
from privllm.core.families import MASKED
from privllm.core.params import deciding_sections, read_params
from privllm.core.report import write_report
from privllm.core.split import SplitConfig
from privllm.engine.stage import require_verdict, run
from privllm.engine.store import open_store

SECTIONS = ("annotate", "finetune", "split", "tasks")  # of params.yaml, `families`, and `masking` of the masked family


def main(source: Path, verdict: Path, out: Path, report: Path) -> None:
    require_verdict(verdict)
    cfg, params = read_params("annotate", AnnotateConfig), deciding_sections()
    splits = splits_read(
        params["families"], params["pretrain"][MASKED.name]["masking"], params["tasks"]["derive"], params["finetune"]["tasks"]
    )
    write_report(report, annotate(cfg, read_params("split", SplitConfig), source, out, open_store("annotate"), splits))


if __name__ == "__main__":
    run(main)
