import litellm

hello = [{"role": "user", "content": "hello"}]
parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
assert litellm.completion(model="openai/gpt-4o-mini", messages=hello).choices[0].message.content
assert list(litellm.completion(model="openai/gpt-4o-mini", messages=hello, stream=True))
called = litellm.completion(model="openai/gpt-4o-mini", messages=hello, tools=[tool], tool_choice="required")
assert called.choices[0].message.tool_calls
assert litellm.embedding(model="openai/text-embedding-3-small", input=["hello"]).data
