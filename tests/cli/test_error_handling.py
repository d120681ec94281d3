import pytest
import typer

from privllm.cli.error_handling import commands_of
from privllm.core.errors import UserError


def test_an_error_is_a_paragraph_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()

    @commands_of(app, "privllm group")
    def list_() -> None:
        raise UserError("no such thing: make one.")

    with pytest.raises(SystemExit) as ended:
        list_()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "\nerror: privllm group list: no such thing: make one.\n\n"
    assert [command.name for command in app.registered_commands] == ["list"]
