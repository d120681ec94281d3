"""Switches that turn off telemetry and hub access of every library before it is imported.

Nothing leaves the machine.

Stages and the command line import this first, and with it how threads wait (`core.threads`). Only
environment variables are set; sockets are not blocked (the tests do that, by running the whole
build without a network).
"""

import os

import privllm.core.threads  # noqa: F401

SWITCHES = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "DVC_STUDIO_OFFLINE": "true",
    "ITERATIVE_DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}

os.environ.update(SWITCHES)
