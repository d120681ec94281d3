"""The section `train` of params.yaml: what models run on, for all stages alike. It imports no torch, so that it can be set first."""

from dataclasses import dataclass

from privllm.core.params import require


@dataclass
class DevicesConfig:
    accelerator: str = "auto"  # cpu, cuda, or auto: cuda where there is a GPU that torch can use
    devices: int = 1  # processes on each machine that share the steps of a training, one for each GPU, 1-1024
    nodes: int = 1  # machines that share a training, which torchrun or SLURM offers, 1-1024
    # ddp: each process holds the model; fsdp: each holds a share of it; auto: fsdp where a GPU's memory is too small for ddp
    strategy: str = "auto"
    tf32: bool = False  # on CUDA: whether products in fp32 may round their factors to 10 bits
    # on CUDA: whether a second run ends in the same bytes, at some cost; a CPU's always does
    deterministic: bool = True

    def __post_init__(self) -> None:
        require(1 <= self.devices <= 1024, "train.devices", "between 1 and 1024")
        require(1 <= self.nodes <= 1024, "train.nodes", "between 1 and 1024")
        require(self.strategy in ("auto", "ddp", "fsdp"), "train.strategy", '"auto", "ddp" or "fsdp"')
        require(self.accelerator in ("auto", "cpu", "cuda"), "train.accelerator", '"auto", "cpu" or "cuda"')

    @property
    def processes(self) -> int:
        """Return how many processes share a training."""
        return self.devices * self.nodes


_chosen = [DevicesConfig()]


def use(cfg: DevicesConfig) -> None:
    """Run the models of this process as `cfg` says, from now on."""
    _chosen[0] = cfg


def chosen() -> DevicesConfig:
    """Return what `use` was told last; the defaults where it never was."""
    return _chosen[0]
