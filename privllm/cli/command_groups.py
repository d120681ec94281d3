"""Groups of commands in `privllm --help`, and their order. docs/reference/commands.md has the same.

The first group is what a newcomer needs on the first day.
"""

GROUPS: dict[str, tuple[str, ...]] = {
    "First day": ("init", "doctor", "demo", "summary", "chat", "serve"),
    "Build": ("plan", "params", "check", "vocabulary", "upgrade"),
    "Models": ("compare", "promote", "models", "predict", "export", "base"),
    "Feedback": ("arena", "feedback", "token"),
    "Documents": ("fetch", "show", "trace", "forget"),
    "Store": ("push", "pull", "audit", "gc", "bundle"),
}
ORDER = [name for names in GROUPS.values() for name in names]
GROUP_OF = {name: group for group, names in GROUPS.items() for name in names}
