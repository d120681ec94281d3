"""The knobs of `export`, without the libraries that export."""

from dataclasses import dataclass


@dataclass
class ExportConfig:
    name: str = "privllm"  # title of the model card
    # whether the model was tuned to answer, which `align` says by itself; otherwise it continues text
    chat: bool = False
