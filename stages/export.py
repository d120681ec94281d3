"""export: a trained model in, a folder for plain transformers out, with a card on its origin.

data/align/<family>, data/tokenizer, data/dedup, data/pack, data/guide/<family>,
data/start/<family>, data/fingerprint, reports
    -> data/export/<family>, reports/export/<family>.json
"""

from pathlib import Path

from privllm.core.params import read_params
from privllm.core.report import write_report
from privllm.engine.stage import run
from privllm.export.config import ExportConfig
from privllm.export.folder import ExportInputs, export
from privllm.parameters.sections import effective_values

# Stages whose reports the card has, of all families and of this one; and those whose code decides weights or figures.
SHARED = ("collect", "clean", "dedup", "validate", "tokenizer", "pack")
OF_FAMILY = ("pretrain", "align", "evaluate")
DECIDES = (*SHARED, "annotate", "feedback", "guide", "start", *OF_FAMILY)
OTHERS = ("split", "sample", "annotate", "guide", "train", "feedback", "align", "evaluate", "export")
SECTIONS = (*OTHERS, *SHARED)  # and `pretrain.<family>`


def main(
    model: Path,
    tokenizer: Path,
    corpus: Path,
    pack: Path,
    guide: Path,
    start: Path,
    fingerprints: Path,
    reports: Path,
    out: Path,
    report: Path,
) -> None:
    family = out.name
    cfg = read_params("export", ExportConfig)
    params = effective_values([*SECTIONS, "pretrain"])
    params["pretrain"] = params["pretrain"][family]
    stage_reports = {stage: reports / f"{stage}.json" for stage in SHARED}
    stage_reports |= {stage: reports / stage / f"{family}.json" for stage in OF_FAMILY}
    training_inputs = {"pack": pack, "guide": guide, "start": start}
    codes = tuple(fingerprints / f"{stage}.json" for stage in DECIDES)
    inputs = ExportInputs(model, tokenizer, corpus, codes, stage_reports, params, training_inputs)
    write_report(report, export(cfg, inputs, family, out))


if __name__ == "__main__":
    run(main)
