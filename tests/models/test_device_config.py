import subprocess
import sys

from privllm.models.device_config import DevicesConfig, chosen, use


def test_what_is_used_is_what_was_chosen_last() -> None:
    before = chosen()
    try:
        use(DevicesConfig(accelerator="cpu", tf32=True))
        assert chosen() == DevicesConfig(accelerator="cpu", tf32=True)
    finally:
        use(before)


def test_a_stage_can_choose_without_torch() -> None:
    code = "import sys, privllm.models.device_config; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
