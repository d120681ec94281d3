"""export: a trained model in, a folder that stock transformers loads out, with a card that says where it came from.

data/pretrain, data/tokenizer, data/dedup, data/fingerprint, reports -> data/export, reports/export.json
"""

from pathlib import Path

from privllm.core.params import deciding_sections, read_params
from privllm.core.report import write_json
from privllm.core.stage import run
from privllm.serve.export import ExportConfig, ExportInputs, export

PROVENANCE = (
    "collect",
    "clean",
    "dedup",
    "validate",
    "tokenizer",
    "pack",
    "pretrain",
    "evaluate",
)  # what decides the model, and its figures


def main(model: Path, tokenizer: Path, documents: Path, fingerprints: Path, reports: Path, out: Path, report: Path) -> None:
    cfg = read_params("export", ExportConfig)
    codes, figures = (tuple(folder / f"{stage}.json" for stage in PROVENANCE) for folder in (fingerprints, reports))
    write_json(report, export(cfg, ExportInputs(model, tokenizer, documents, codes, figures, deciding_sections()), out))


if __name__ == "__main__":
    run(main)
