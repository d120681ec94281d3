"""A program for an environment with LangChain and LlamaIndex: `python frameworks.py BASE MODEL` talks to a server through both."""

import asyncio
import sys


def langchain(base: str, model: str) -> None:
    from langchain_core.messages import AIMessage, HumanMessage
    from langchain_openai import ChatOpenAI, OpenAI

    chat = ChatOpenAI(base_url=base, api_key="none", model=model, max_tokens=8, temperature=0, seed=1)
    first = chat.invoke([HumanMessage("the page", name="eva")])
    assert isinstance(first, AIMessage)
    assert first.content
    second = chat.invoke([HumanMessage("the page"), first, HumanMessage("and?")])  # its own reply, sent back
    assert second.usage_metadata
    assert second.usage_metadata["input_tokens"] > first.usage_metadata["input_tokens"]
    assert "".join(piece.content for piece in chat.stream("the page")) == first.content
    assert asyncio.run(chat.ainvoke("the page")).content == first.content
    assert [reply.content for reply in chat.batch(["the page"] * 3)] == [first.content] * 3
    told = chat.bind(logprobs=True, top_logprobs=2).invoke("the page")
    assert told.response_metadata["logprobs"]["content"]
    text = OpenAI(base_url=base, api_key="none", model=model, max_tokens=8, temperature=0)
    assert text.invoke("the page")
    assert len(text.generate(["the page", "its own"]).generations) == 2


def llama_index(base: str, model: str) -> None:
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    chat = OpenAILike(
        api_base=base, api_key="none", model=model, is_chat_model=True, max_tokens=8, temperature=0, context_window=96
    )
    first = chat.chat([ChatMessage(role="user", content="the page")])
    assert first.message.content
    again = [ChatMessage(role="user", content="the page"), first.message, ChatMessage(role="user", content="and?")]
    assert chat.chat(again).message.role == "assistant"
    *_, last = chat.stream_chat([ChatMessage(role="user", content="the page")])
    assert last.message.content == first.message.content
    text = OpenAILike(api_base=base, api_key="none", model=model, is_chat_model=False, max_tokens=8, temperature=0)
    assert text.complete("the page").text


if __name__ == "__main__":
    langchain(*sys.argv[1:])
    llama_index(*sys.argv[1:])
    print("both talk to it")
