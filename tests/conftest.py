"""What every test shares: offline switches, and Hypothesis without wall-clock deadlines (machines are noisy)."""

import os

from hypothesis import HealthCheck, settings

import privllm.core.offline  # noqa: F401

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")
