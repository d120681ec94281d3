"""fingerprint: source code in, one JSON per stage out with hashes of what its code means.

privllm/ stages/ extensions/ requirements.lock -> data/fingerprint/<stage>.json, reports/fingerprint.json

As the first stage, it also removes the outputs of families and tasks that params.yaml no longer
names.
"""

from pathlib import Path

from privllm.core.report import write_report
from privllm.engine.fingerprint import write_fingerprints
from privllm.engine.leftovers import remove_leftovers
from privllm.engine.stage import run


def main(out: Path, report: Path) -> None:
    remove_leftovers(Path())
    write_report(report, write_fingerprints(Path(), out))


if __name__ == "__main__":
    run(main)
