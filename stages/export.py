"""export: a trained model in, a folder that stock transformers loads out, with a card that says where it came from.

data/align/<family>, data/tokenizer, data/dedup, data/pack, data/guide/<family>, data/start/<family>, data/fingerprint, reports
    -> data/export/<family>, reports/export/<family>.json
"""

from pathlib import Path

from privllm.core.params import deciding_sections, read_params
from privllm.core.report import write_report
from privllm.engine.stage import run
from privllm.export.config import ExportConfig
from privllm.export.folder import ExportInputs, export

SHARED = ("collect", "clean", "dedup", "validate", "tokenizer", "pack")  # whose reports the card keeps, of every family
OWN = ("pretrain", "align", "evaluate")  # and of this one
DECIDES = (*SHARED, "annotate", "feedback", "guide", "start", *OWN)  # whose code decides weights or figures; a test asks dvc.yaml
SECTIONS = ("split", "sample", "annotate", "guide", "feedback", "align", "evaluate", "export", *SHARED)  # and `pretrain.<family>`


def main(
    model: Path, tokenizer: Path, corpus: Path, pack: Path, guide: Path, start: Path, prints: Path, reports: Path, out: Path, report: Path
) -> None:
    cfg, family, params = read_params("export", ExportConfig), out.name, deciding_sections()
    params = {name: params[name] for name in sorted(SECTIONS)} | {"pretrain": params["pretrain"][family]}
    figures = {stage: reports / f"{stage}.json" for stage in SHARED} | {stage: reports / stage / f"{family}.json" for stage in OWN}
    learnt = {"pack": pack, "guide": guide, "start": start}
    codes = tuple(prints / f"{stage}.json" for stage in DECIDES)
    write_report(report, export(cfg, ExportInputs(model, tokenizer, corpus, codes, figures, params, learnt), family, out))


if __name__ == "__main__":
    run(main)
