"""Off a terminal, work of a few seconds is silent; what takes longer says how far it is."""

from privllm.core.progress import bar


class Hands:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lines_after(seconds: list[float], capsys) -> list[str]:
    """What a bar of a hundred parts says if a part ends at each of these seconds."""
    clock = Hands()
    with bar("clean", total=100, clock=clock) as advance:
        for second in seconds:
            clock.now = 100.0 + second
            advance()
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err.splitlines()


def test_short_work_says_nothing(capsys) -> None:
    assert lines_after([0.1, 2.0, 4.9], capsys) == []


def test_longer_work_says_how_far_it_is_at_once_and_then_now_and_then(capsys) -> None:
    assert lines_after([1.0, 6.0, 7.0, 35.9, 36.0, 40.0, 66.0], capsys) == [
        "clean: 2%, 0:04:54 left",
        "clean: 5%, 0:11:24 left",
        "clean: 7%, 0:14:37 left",
    ]


def test_amounts_are_parts_of_the_total(capsys) -> None:
    clock = Hands()
    with bar("clean", total=8.0, clock=clock) as advance:
        clock.now += 3600
        advance(2.0)
    assert capsys.readouterr().err == "clean: 25%, 3:00:00 left\n"
