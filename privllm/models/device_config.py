"""The section `train` of params.yaml: what models run on, for all stages alike. It imports no torch, so that it can be set first."""

from dataclasses import dataclass

from privllm.core.params import require


@dataclass
class DevicesConfig:
    accelerator: str = "auto"  # cpu, cuda, or auto: cuda where there is a GPU that torch can use
    devices: int = 1  # processes that share each step of a pretraining, one for each GPU, 1-1024
    tf32: bool = False  # on CUDA: whether products in fp32 may round their factors to 10 bits
    # on CUDA: whether a second run ends in the same bytes, at some cost; a CPU's always does
    deterministic: bool = True

    def __post_init__(self) -> None:
        require(1 <= self.devices <= 1024, "train.devices", "between 1 and 1024")
        require(self.accelerator in ("auto", "cpu", "cuda"), "train.accelerator", '"auto", "cpu" or "cuda"')


_chosen = [DevicesConfig()]


def use(cfg: DevicesConfig) -> None:
    """Run the models of this process as `cfg` says, from now on."""
    _chosen[0] = cfg


def chosen() -> DevicesConfig:
    """Return what `use` was told last; the defaults where it never was."""
    return _chosen[0]
