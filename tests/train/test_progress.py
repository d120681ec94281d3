"""Without a terminal, training says at once that it runs and how long it will take, then a line now and then and one per validation."""

from types import SimpleNamespace

from privllm.train.progress import ShowProgress


def test_lines_off_a_terminal(capsys) -> None:
    history, now = SimpleNamespace(points=[], tokens=0, last_loss=0.0), [50.0]
    show = ShowProgress(history, clock=lambda: now[0])
    trainer = SimpleNamespace(global_step=0)
    module = SimpleNamespace(schedule=SimpleNamespace(end=10), objective=SimpleNamespace(section="pretrain.masked"))

    def step(seconds: float, loss: float) -> str:
        now[0] += seconds
        trainer.global_step += 1
        history.tokens += 100
        history.last_loss = loss
        show.on_train_batch_end(trainer, module, {})
        return capsys.readouterr().err

    show.on_train_start(trainer, module)
    assert capsys.readouterr().err == "pretrain.masked: begins at step 0/10\n"
    assert step(8.0, 2.5) == "pretrain.masked: step 1/10, loss 2.500, 12 tokens/s, 0:01:12 left\n"
    assert step(8.0, 2.5) == ""
    history.points.append(("validation/loss", 2, 2.25))
    assert step(4.0, 2.0) == "pretrain.masked: step 3/10, held-out loss 2.2500, loss 2.000, 15 tokens/s, 0:00:47 left\n"
    assert step(20.0, 2.0) == "pretrain.masked: step 4/10, loss 2.000, 10 tokens/s, 0:01:00 left\n"
    show.on_train_end(trainer, module)


def test_a_run_that_goes_on_counts_from_where_it_does(capsys) -> None:
    now = [0.0]
    history = SimpleNamespace(points=[("validation/loss", 6, 3.0)], tokens=600, last_loss=1.0)
    show = ShowProgress(history, clock=lambda: now[0])
    trainer = SimpleNamespace(global_step=6)
    module = SimpleNamespace(schedule=SimpleNamespace(end=10), objective=SimpleNamespace(section="align.sft"))
    show.on_train_start(trainer, module)
    now[0], trainer.global_step, history.tokens = 2.0, 7, 700
    show.on_train_batch_end(trainer, module, {})
    assert capsys.readouterr().err.splitlines() == [
        "align.sft: goes on from step 6/10",
        "align.sft: step 7/10, loss 1.000, 50 tokens/s, 0:00:06 left",
    ]
