"""`python -m privllm.cli` is the command `privllm`."""

from privllm.cli.app import app

app()
