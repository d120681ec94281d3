"""DPO's loss is TRL's, on the same tokens, to 1e-5. TRL is no dependency: `pip install trl` to run this."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from privllm.train.align.objectives import EncodedLesson, LossTerms, Prefer
from privllm.train.config import TrainConfig
from tests.foreign import foreign_model, foreign_tokenizer

trl = pytest.importorskip(
    "trl", reason="TRL is not installed, so DPO's loss is not compared with it: `pip install trl`"
)

BETA = 0.3
PAIRS = (
    ("The committee", " met on Tuesday.", " read the report twice."),
    ("def valve(x):", " return x", " agreed"),
    ("It was", " agreed.", " x + 1"),
    ("naïve", " façades", " report"),
)


def noisy(model: Any, seed: int) -> Any:
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return other.eval()


def test_the_loss_of_a_batch(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(foreign_tokenizer(("<s>", "</s>", "<pad>")), "utf-8")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"), bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    reference = foreign_model("causal", "llama", len(tokenizer)).eval()
    policy = noisy(reference, 1)
    rows = [{"prompt": prompt, "chosen": chosen, "rejected": rejected} for prompt, chosen, rejected in PAIRS]
    settings = trl.DPOConfig(
        output_dir=str(tmp_path / "out"),
        beta=BETA,
        report_to="none",
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=len(PAIRS),
        disable_dropout=True,
        gradient_checkpointing=False,
    )
    from datasets import Dataset

    trainer = trl.DPOTrainer(
        model=copy.deepcopy(policy),
        ref_model=copy.deepcopy(reference),
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.eval()
    with torch.no_grad():
        theirs = float(trainer.compute_loss(trainer.model, batch))
    lessons = lessons_of(batch)
    cfg = TrainConfig(batch_size=len(PAIRS))
    objective = Prefer(reference, cfg, "align.dpo", lessons, [], LossTerms(None, 0.0, BETA))  # type: ignore[arg-type]
    objective.model = policy
    with torch.no_grad():
        ours = float(objective.lesson_loss(objective.make(objective.train))) / len(lessons)
    assert abs(theirs - 0.693147) > 1e-3, "the two models say the same, so this proves nothing"
    assert ours == pytest.approx(theirs, abs=1e-5)


def lessons_of(batch: dict[str, torch.Tensor]) -> list[EncodedLesson]:
    """The pairs of a batch of TRL's: the chosen rows, then the rejected ones."""
    read = []
    for ids, attended, written in zip(
        batch["input_ids"], batch["attention_mask"], batch["completion_mask"], strict=True
    ):
        is_prompt = (attended == 1) & (written == 0)
        read.append((ids[is_prompt].tolist(), ids[(attended == 1) & (written == 1)].tolist()))
    half = len(read) // 2
    lessons = []
    for (prompt, chosen), (_, rejected) in zip(read[:half], read[half:], strict=True):
        lessons.append(EncodedLesson(prompt, [chosen, rejected], 1.0))
    return lessons
