from langchain_openai import ChatOpenAI, OpenAIEmbeddings


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return "sunny"


model = ChatOpenAI(model="gpt-4o-mini")
assert model.invoke("hello").content
assert "".join(str(chunk.content) for chunk in model.stream("hello"))
assert model.bind_tools([weather], tool_choice="weather").invoke("hello").tool_calls[0]["args"]["city"]
assert OpenAIEmbeddings(model="text-embedding-3-small", check_embedding_ctx_length=False).embed_query("hello")
