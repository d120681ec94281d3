"""gate: this build's model beside the incumbent, on the same documents, votes and tasks; fails where a rule of `gate.rules` is broken.

data/promoted/model, data/align, data/evaluate, data/pack, data/dedup, data/tokenizer, data/feedback_clean, data/finetune
    -> data/gate, reports/gate.json
"""

from pathlib import Path

from privllm.core.params import read_params
from privllm.core.report import write_json
from privllm.core.split import SplitConfig
from privllm.core.stage import run
from privllm.core.store import open_store
from privllm.evaluate.gate import GateConfig, Inputs, Settings, gate, require_pass
from privllm.evaluate.recipe import EvaluateConfig


def main(
    promoted: Path,
    models: Path,
    scores: Path,
    packed: Path,
    documents: Path,
    tokenizer: Path,
    feedback: Path,
    tuned: Path,
    out: Path,
    report: Path,
) -> None:
    settings = Settings(read_params("gate", GateConfig), read_params("evaluate", EvaluateConfig), read_params("split", SplitConfig))
    inputs = Inputs(promoted, models, scores, packed, documents, tokenizer, feedback, tuned)
    found = gate(settings, inputs, out, open_store("gate"))
    write_json(report, found)
    require_pass(found)


if __name__ == "__main__":
    run(main)
