"""export: a trained model in, a folder that stock transformers loads out, with a card that says where it came from.

data/align/<family>, data/tokenizer, data/dedup, data/fingerprint, reports
    -> data/export/<family>, reports/export/<family>.json
"""

from pathlib import Path

from privllm.core.params import deciding_sections, read_params
from privllm.core.report import write_json
from privllm.core.stage import run
from privllm.serve.export import ExportConfig, ExportInputs, export

SHARED = ("collect", "clean", "dedup", "validate", "tokenizer", "pack")  # what decides every family's model,
OWN = ("pretrain", "align", "evaluate")  # and this one's, and its figures
DECIDES = (*SHARED, "start", "guide", *OWN)
SECTIONS = (
    "split",
    "sample",
    *SHARED,
    "annotate",
    "guide",
    "align",
    "evaluate",
    "export",
)  # of params.yaml; `pretrain` has one for each family


def main(model: Path, tokenizer: Path, documents: Path, fingerprints: Path, reports: Path, out: Path, report: Path) -> None:
    cfg, family, params = read_params("export", ExportConfig), out.name, deciding_sections()
    params = {name: params[name] for name in sorted(SECTIONS)} | {"pretrain": params["pretrain"][family]}
    figures = {stage: reports / f"{stage}.json" for stage in SHARED} | {stage: reports / stage / f"{family}.json" for stage in OWN}
    codes = tuple(fingerprints / f"{stage}.json" for stage in DECIDES)
    write_json(report, export(cfg, ExportInputs(model, tokenizer, documents, codes, figures, params), family, out))


if __name__ == "__main__":
    run(main)
