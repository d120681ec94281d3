"""evaluate: a model and held-out rows in, figures by slice, document by document, and samples out.

data/align/<family>, data/tokenizer, data/pack, data/dedup, data/annotate
    -> data/evaluate/<family>, reports/evaluate/<family>.json,
       reports/metrics/evaluate/<family>.json (for `dvc exp show`)
"""

from pathlib import Path

from privllm.core.out_of_memory import shortage_explained
from privllm.core.params import read_params
from privllm.core.report import write_json, write_report
from privllm.engine.stage import run
from privllm.engine.store import Store
from privllm.evaluate.baselines import baselines
from privllm.evaluate.recipe import EvaluateConfig, EvaluateInputs, evaluate
from privllm.stats.document_scores import SCORES


def main(
    model: Path,
    tokenizer: Path,
    packed: Path,
    documents: Path,
    annotations: Path,
    out: Path,
    report: Path,
    metrics: Path,
    store: Store,
) -> None:
    family = out.name
    cfg = read_params("evaluate", EvaluateConfig)
    inputs = EvaluateInputs(model, tokenizer, packed / "test", documents, annotations)
    with shortage_explained(
        f"Lower `evaluate.batch_rows`, or train a smaller `pretrain.{family}.model`, in params.yaml; or close other programs"
    ):
        figures = evaluate(cfg, inputs, family, out, store)
    figures["baselines"] = baselines(documents, out / SCORES, out, store)
    write_report(report, figures)
    write_json(metrics, {family: {"bits_per_byte": figures["bits_per_byte"]}})


if __name__ == "__main__":
    run(main)
