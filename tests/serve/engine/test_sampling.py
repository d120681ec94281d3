import torch

from privllm.core.special_tokens import PAD
from privllm.models.generate import SamplingConfig, sample
from privllm.serve.engine.base import SamplingSettings
from privllm.serve.engine.sampling import sample_rows


def test_row_by_row_what_generate_draws() -> None:
    logits = torch.randn(40, 500, generator=torch.Generator().manual_seed(0)) * 3
    settings = [
        SamplingSettings(temperature=(0.0, 0.5, 1.0, 2.0)[i % 4], top_p=(1.0, 0.9, 0.3, 0.01)[i % 3], seed=i)
        for i in range(40)
    ]
    alone = [torch.Generator().manual_seed(i) for i in range(40)]
    together = [torch.Generator().manual_seed(i) for i in range(40)]
    for _ in range(3):
        expected = [
            sample(logits[i], SamplingConfig(1, cfg.temperature, 0, cfg.top_p, i), alone[i], (PAD,))
            for i, cfg in enumerate(settings)
        ]
        assert sample_rows(logits, settings, together, (PAD,)) == expected


def test_what_is_forbidden_is_not_drawn() -> None:
    logits = torch.tensor([[0.0, 9.0, 1.0]])
    assert sample_rows(logits, [SamplingSettings(temperature=0.0)], [torch.Generator()], (1,)) == [2]
    assert sample_rows(logits, [SamplingSettings(temperature=0.0)], [torch.Generator()]) == [1]
