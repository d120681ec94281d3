"""The knobs of `evaluate`, without the libraries that evaluate."""

from dataclasses import dataclass

from privllm.core.params import require

SHORTEST = 8  # tokens that must follow the prompt of a continuation


@dataclass
class EvaluateConfig:
    # bytes of each held-out split that are scored, >= 1: whole documents by a hash of their id, until they hold so many
    max_bytes: int = 1_000_000
    # windows scored at once, [1, 1024]; more needs more memory and changes figures only in their last digits
    batch_rows: int = 8
    continuations: int = 16  # documents that are continued for BLEU and chrF, >= 0
    prompt_tokens: int = 48  # of a document that the model is given, >= 1
    continuation_tokens: int = 48  # that it is asked for, >= 8
    samples: int = 3  # texts for people to read, >= 0
    sample_tokens: int = 120  # length of each, >= 1
    temperature: float = 0.8  # of the samples; 0 = always the likeliest token
    # what the model says by itself is looked through for training text and personal data: so many texts, >= 0
    own_texts: int = 1000
    own_text_tokens: int = 64  # of each at most, >= 16
    bootstrap: int = 1000  # draws behind the weak spots; 0 = none
    seed: int = 0  # of the choice of documents and of what is drawn

    def __post_init__(self) -> None:
        minima = {
            "max_bytes": 1,
            "continuations": 0,
            "prompt_tokens": 1,
            "continuation_tokens": SHORTEST,
            "samples": 0,
            "own_texts": 0,
            "own_text_tokens": 16,
        }
        for key, least in minima.items():
            require(getattr(self, key) >= least, f"evaluate.{key}", f"at least {least}")
        require(1 <= self.batch_rows <= 1024, "evaluate.batch_rows", "between 1 and 1024")
        require(
            self.sample_tokens >= 1 and self.temperature >= 0,
            "evaluate.sample_tokens",
            "at least 1, and evaluate.temperature at least 0",
        )
        require(0 <= self.bootstrap <= 100_000, "evaluate.bootstrap", "between 0 and 100000")
