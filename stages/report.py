"""report: the reports of all stages in, one self-contained page out.

reports, data/collect, data/clean, data/dedup, data/evaluate, data/fingerprint -> reports/index.html
"""

from pathlib import Path

from privllm.core.params import deciding_sections
from privllm.engine.stage import run
from privllm.models.family_texts import describe_families
from privllm.parameters.sections import effective_values
from privllm.report.page import OWN, SHARED, ReportInputs, render_report

DECIDES = tuple(stage for stage in (*SHARED, "guide", *OWN) if stage != "gate")  # stages that a figure depends on
SECTIONS = ("split", "sample", "train", *(stage for stage in DECIDES if stage != "start"))


def main(
    reports: Path, collect: Path, clean: Path, dedup: Path, evaluation: Path, fingerprints: Path, out: Path
) -> None:
    families = tuple(deciding_sections()["families"])
    params = effective_values([*SECTIONS])
    params["pretrain"] = {family: params["pretrain"][family] for family in families}
    codes = tuple(fingerprints / f"{stage}.json" for stage in DECIDES)
    descriptions = describe_families(families)
    documents = (collect, clean, dedup)
    inputs = ReportInputs(reports, families, documents, evaluation, codes, params, descriptions)
    render_report(inputs, out)


if __name__ == "__main__":
    run(main)
