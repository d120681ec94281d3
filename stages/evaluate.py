"""evaluate: a model and held-out documents in, figures by slice, document by document, and samples out.

data/align/<family>, data/tokenizer, data/dedup, data/annotate, data/start/<family>
    -> data/evaluate/<family>, reports/evaluate/<family>.json,
       reports/metrics/evaluate/<family>.json (for `dvc exp show`)
"""

from pathlib import Path

from privllm.core.families import TRAITS
from privllm.core.out_of_memory import shortage_explained
from privllm.core.params import read_params
from privllm.core.report import write_json, write_report
from privllm.engine.stage import run
from privllm.engine.store import Store
from privllm.evaluate.baselines import baselines
from privllm.evaluate.recipe import EvaluateConfig, EvaluateInputs, evaluate
from privllm.models.device_config import DevicesConfig, use
from privllm.stats.document_scores import SCORES


def main(
    model: Path,
    tokenizer: Path,
    documents: Path,
    annotations: Path,
    start: Path,
    out: Path,
    report: Path,
    metrics: Path,
    store: Store,
) -> None:
    family = out.name
    cfg = read_params("evaluate", EvaluateConfig)
    use(read_params("train", DevicesConfig))
    inputs = EvaluateInputs(model, tokenizer, documents, annotations, start)
    with shortage_explained(
        f"Lower `evaluate.batch_rows`, or train a smaller `pretrain.{family}.model`, in params.yaml; or close other programs"
    ):
        figures = evaluate(cfg, inputs, family, out, store)
    figures["baselines"] = baselines(documents, out / SCORES, out, store)
    write_report(report, figures)
    traits = TRAITS[family]
    name = traits.clean_bits if traits.clean_bits in figures else traits.bits
    write_json(metrics, {name: figures[name]})


if __name__ == "__main__":
    run(main)
