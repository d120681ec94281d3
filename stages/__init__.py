import privllm.core.interrupt  # noqa: F401  (before anything heavy: Ctrl-C may come while a stage imports)
