"""report: the reports of all stages in, one self-contained page out.

reports, data/evaluate, data/fingerprint -> reports/index.html
"""

from pathlib import Path

from privllm.core.params import deciding_sections
from privllm.engine.stage import run
from privllm.models.family_texts import describe_families
from privllm.parameters.sections import effective_values
from privllm.report.page import OWN, SHARED, ReportInputs, render_report

SHOWN = (*SHARED, "guide", *OWN)
CODES = (*SHOWN, "start")
SECTIONS = ("split", "sample", "train", *SHOWN)


def main(reports: Path, evaluation: Path, fingerprints: Path, out: Path) -> None:
    families = tuple(deciding_sections()["families"])
    params = effective_values([*SECTIONS])
    params["pretrain"] = {family: params["pretrain"][family] for family in families}
    codes = tuple(fingerprints / f"{stage}.json" for stage in CODES)
    inputs = ReportInputs(reports, families, evaluation, codes, params, describe_families(families))
    render_report(inputs, out)


if __name__ == "__main__":
    run(main)
