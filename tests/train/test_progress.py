"""Without a terminal, training says one line per validation."""

from types import SimpleNamespace

from privllm.train.progress import ShowProgress


def test_a_line_per_validation(capsys) -> None:
    history = SimpleNamespace(points=[], tokens=0)
    show = ShowProgress(history)
    trainer, module = (
        SimpleNamespace(global_step=0),
        SimpleNamespace(schedule=SimpleNamespace(end=10), objective=SimpleNamespace(section="pretrain.masked")),
    )
    show.on_train_start(trainer, module)
    show.on_train_batch_end(trainer, module, {"loss": 2.5})
    assert capsys.readouterr().err == ""
    history.points.append(("validation/loss", 5, 2.25))
    history.tokens, trainer.global_step = 100, 5
    show.on_train_batch_end(trainer, module, {"loss": 2.0})
    show.on_train_end(trainer, module)
    shown = capsys.readouterr().err
    assert "pretrain.masked: step 5/10" in shown
    assert "held-out loss 2.2500" in shown
