import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from privllm.serve.batched import Batched
from privllm.serve.engine import Ask, Done, Refused, Settings, Text

LONG = Ask(None, "the", Settings(max_tokens=4000, temperature=0.0))


@asynccontextmanager
async def running(folder: Path, batch: int = 4, queue: int = 4) -> AsyncIterator[Batched]:
    engine = Batched.open(folder, "", batch, queue)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def quiet(engine: Batched) -> None:
    async with asyncio.timeout(5):
        while engine.running:
            await asyncio.sleep(0.01)


def test_many_at_once_each_in_order_and_whole(exported: Callable[..., Path]) -> None:
    async def reply(engine: Batched, text: str) -> str:
        events = [event async for event in engine.stream(Ask(None, text, Settings(20, 0.0)))]
        assert isinstance(events[-1], Done)
        return "".join(event.text for event in events if isinstance(event, Text))

    async def main() -> None:
        async with running(exported(), 4, 60) as engine:
            texts = [f"the page {i}" for i in range(40)]
            together = await asyncio.gather(*(reply(engine, text) for text in texts))
            assert together == [await reply(engine, text) for text in texts]
            assert len(set(together)) > 10

    asyncio.run(main())


def test_who_goes_away_is_not_generated_for(exported: Callable[..., Path]) -> None:
    async def main() -> None:
        async with running(exported()) as engine:
            stream = engine.stream(LONG)
            assert isinstance(await anext(stream), Text)  # type: ignore[arg-type]
            await anext(stream)  # type: ignore[arg-type]
            assert engine.running >= 1
            await stream.aclose()  # type: ignore[attr-defined]
            await quiet(engine)

    asyncio.run(main())


def test_too_many_are_refused_and_room_comes_back(exported: Callable[..., Path]) -> None:
    async def main() -> None:
        async with running(exported(), 1, 1) as engine:
            first, second = engine.stream(LONG), engine.stream(LONG)
            await anext(first)  # type: ignore[arg-type]
            waiting = asyncio.create_task(anext(second))  # type: ignore[arg-type]
            await asyncio.sleep(0.05)
            with pytest.raises(Refused) as refused:
                await anext(engine.stream(LONG))  # type: ignore[arg-type]
            assert (refused.value.status, refused.value.retry_after) == (429, 2.0)
            await first.aclose()  # type: ignore[attr-defined]
            assert isinstance(await waiting, Text)
            await second.aclose()  # type: ignore[attr-defined]
            await quiet(engine)

    asyncio.run(main())


def test_a_prompt_beyond_the_context_is_refused(exported: Callable[..., Path]) -> None:
    async def main() -> None:
        async with running(exported()) as engine:
            for asked in (engine.size(Ask(None, "row " * 500, Settings())), anext(engine.stream(Ask(None, "row " * 500, Settings())))):  # type: ignore[arg-type]
                with pytest.raises(Refused, match="this model sees 96 at once") as refused:
                    await asked
                assert refused.value.param == "prompt"

    asyncio.run(main())


def test_a_failing_step_is_told_and_survived(exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running(exported()) as engine:
            with monkeypatch.context() as patch:
                patch.setattr(engine._batch.slots, "add", lambda read: 1 / 0)
                with pytest.raises(Refused, match="the model failed") as refused:
                    [event async for event in engine.stream(LONG)]
                assert refused.value.status == 500
            assert isinstance(await anext(engine.stream(LONG)), Text)  # type: ignore[arg-type]

    asyncio.run(main())
