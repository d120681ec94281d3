"""A model to serve, as the tests of `serve` make it."""

from tests.serve.conftest import built, exported, one_thread  # noqa: F401
