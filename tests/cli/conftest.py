"""A model to serve, as the tests of `serve` make it."""

from tests.serve.conftest import WITH_TORCH, one_thread  # noqa: F401

if WITH_TORCH:
    from tests.serve.models import built, exported, exported_masked  # noqa: F401
