from privllm.judge.records import Model
from privllm.serve.engine import Done, Served
from privllm.serve.protocol import ChatRequest, TextRequest, Writer, error_body, model_card, parse, usage

SERVED = Served(Model("m", "", "d"), None, None)


def test_seeds_are_drawn_where_none_is_given_and_defaults_are_those_of_the_terminal() -> None:
    body = b'{"model": "m", "prompt": "x"}'
    one, other = (parse(TextRequest, body).ask().settings for _ in range(2))
    assert one.seed != other.seed
    assert (one.max_tokens, one.temperature, one.top_p) == (200, 0.8, 0.95)


def test_zero_is_a_temperature_and_the_newer_name_of_a_length_wins() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":0,"max_tokens":9,'
    body += b'"max_completion_tokens":5,"stop":["",".."]}'
    settings = parse(ChatRequest, body).ask().settings
    assert (settings.temperature, settings.max_tokens, settings.stop) == (0.0, 5, ("..",))


def test_nothing_is_made_up_of_what_an_upstream_does_not_say() -> None:
    assert usage(Done("stop", None, None)) is None
    assert Writer(SERVED, True).whole("x", Done("stop", None, None))["usage"] is None
    assert model_card(SERVED)["privllm"] == {"tuned": None, "context": None, "digest": "d", "note": ""}


def test_a_completion_has_no_opening_chunk() -> None:
    assert Writer(SERVED, False).first() is None
    assert error_body(503, "x")["error"]["type"] == "server_error"
