"""report: every stage's report in, one self-contained page out.

reports, data/evaluate/samples.json, reports/pretrain (losses), data/fingerprint -> reports/index.html
"""

from pathlib import Path

from privllm.core.params import load_sections
from privllm.core.stage import run
from privllm.report.page import ReportInputs, render_report

STAGES = ("collect", "clean", "dedup", "validate", "annotate", "tasks", "tokenizer", "pack", "pretrain", "evaluate", "export")


def main(reports: Path, samples: Path, curves: Path, fingerprints: Path, out: Path) -> None:
    figures, codes = (tuple(folder / f"{stage}.json" for stage in STAGES) for folder in (reports, fingerprints))
    render_report(ReportInputs(figures, samples.parent, curves, codes, load_sections()), out)


if __name__ == "__main__":
    run(main)
