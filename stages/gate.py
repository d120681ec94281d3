"""gate: this build's model beside the incumbent, on the same documents and preferences; fails where a rule of `gate.rules` is broken.

data/promoted/model, data/align, data/evaluate, data/pack, data/dedup, data/tokenizer, data/feedback_clean
    -> data/gate, reports/gate.json
"""

from pathlib import Path

from privllm.core.errors import UserError
from privllm.core.params import read_params
from privllm.core.report import write_json
from privllm.core.split import SplitConfig
from privllm.core.stage import run
from privllm.core.store import open_store
from privllm.evaluate.gate import GateConfig, Inputs, Settings, gate
from privllm.evaluate.recipe import EvaluateConfig
from privllm.evaluate.rules import table_of


def main(
    promoted: Path, models: Path, scores: Path, packed: Path, documents: Path, tokenizer: Path, feedback: Path, out: Path, report: Path
) -> None:
    cfg = read_params("gate", GateConfig)
    settings = Settings(cfg, read_params("evaluate", EvaluateConfig), read_params("split", SplitConfig))
    found = gate(settings, Inputs(promoted, models, scores, packed, documents, tokenizer, feedback), out, open_store("gate"))
    write_json(report, found)
    if found["figures"]:
        print(table_of(found["figures"]))
    if not found["passed"]:
        raise UserError(
            f"the model is worse than {found['incumbent']} by more than `gate.rules` allows: see the table above, or {report}. "
            "Change data or parameters and run `dvc repro`; with --keep-going it builds what does not depend on the gate."
        )


if __name__ == "__main__":
    run(main)
