"""gate: this build's model compared with the incumbent; fails where a rule is broken.

data/promoted/model, data/align, data/evaluate, data/dedup, data/tokenizer,
data/feedback_clean, data/finetune
    -> data/gate, whose verdict.json is written without an incumbent too; reports/gate.json
"""

from pathlib import Path

from privllm.core.base_model import INCUMBENT
from privllm.core.out_of_memory import shortage_explained
from privllm.core.params import read_params
from privllm.core.promoted import MANIFEST
from privllm.core.report import write_json, write_report
from privllm.engine.stage import run
from privllm.engine.store import Store
from privllm.evaluate.own_figures import own_figures
from privllm.evaluate.rules import GateConfig, require_pass, without_incumbent
from privllm.models.device_config import DevicesConfig, use


def main(
    promoted: Path,
    models: Path,
    scores: Path,
    texts: Path,
    tokenizer: Path,
    feedback: Path,
    finetuned: Path,
    out: Path,
    report: Path,
    store: Store,
) -> None:
    cfg = read_params("gate", GateConfig)
    use(read_params("train", DevicesConfig))
    own = own_figures(scores)
    figures = without_incumbent(cfg, own)
    if (promoted / INCUMBENT / MANIFEST).is_file():
        # These import torch, so only where there is work.
        from privllm.evaluate.promotion_gate import GateInputs, GateSettings, gate
        from privllm.evaluate.recipe import EvaluateConfig

        evaluation = read_params("evaluate", EvaluateConfig)
        settings = GateSettings(cfg, evaluation)
        inputs = GateInputs(promoted, models, scores, texts, tokenizer, feedback, finetuned)
        with shortage_explained("Lower `evaluate.batch_rows` in params.yaml, or close other programs"):
            figures = gate(settings, inputs, own, out, store)
    write_json(out / "verdict.json", {key: figures[key] for key in ("incumbent", "passed")})
    write_report(report, figures)
    require_pass(figures)


if __name__ == "__main__":
    run(main)
