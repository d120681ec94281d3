"""The knobs of `export`, without the libraries that export."""

from dataclasses import dataclass, field

from privllm.core.params import require

GGUF_TYPES = ("f16", "q8_0", "q4_0")  # of a GGUF file's matrices: 16, 8.5 and 4.5 bits a number


@dataclass
class ExportConfig:
    name: str = "privllm"  # title of the model card
    # whether the model was tuned to answer, which `align` says by itself; otherwise it continues text
    chat: bool = False
    # files for llama.cpp and Ollama beside the causal model, one for each type: f16, q8_0, q4_0
    gguf: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        require(set(self.gguf) <= set(GGUF_TYPES), "export.gguf", f"a list of {', '.join(GGUF_TYPES)}")
