"""gate: this build's model beside the incumbent, on the same documents, votes and tasks; fails where a rule of `gate.rules` is broken.

data/promoted/model, data/align, data/evaluate, data/pack, data/dedup, data/tokenizer, data/feedback_clean, data/finetune
    -> data/gate, whose verdict.json is there also where there is no incumbent; reports/gate.json
"""

from pathlib import Path

from privllm.core.base_model import INCUMBENT
from privllm.core.out_of_memory import shortage_explained
from privllm.core.params import read_params
from privllm.core.promoted import MANIFEST
from privllm.core.report import write_json, write_report
from privllm.core.split import SplitConfig
from privllm.engine.stage import run
from privllm.engine.store import open_store
from privllm.evaluate.rules import GateConfig, require_pass, without_incumbent


def main(
    promoted: Path, models: Path, scores: Path, packed: Path, texts: Path, tokenizer: Path, said: Path, tuned: Path, out: Path, report: Path
) -> None:
    cfg = read_params("gate", GateConfig)
    found = without_incumbent()
    if (promoted / INCUMBENT / MANIFEST).is_file():
        from privllm.evaluate.promotion_gate import GateInputs, GateSettings, gate  # not before it is known that there is work for torch
        from privllm.evaluate.recipe import EvaluateConfig

        settings = GateSettings(cfg, read_params("evaluate", EvaluateConfig), read_params("split", SplitConfig))
        inputs = GateInputs(promoted, models, scores, packed, texts, tokenizer, said, tuned)
        with shortage_explained("Lower `evaluate.batch_rows` in params.yaml, or close other programs"):
            found = gate(settings, inputs, out, open_store("gate"))
    write_json(out / "verdict.json", {key: found[key] for key in ("incumbent", "passed")})
    write_report(report, found)
    require_pass(found)


if __name__ == "__main__":
    run(main)
