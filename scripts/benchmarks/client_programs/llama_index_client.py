from llama_index.llms.openai import OpenAI

assert OpenAI(model="gpt-4o-mini").complete("hello").text
assert "".join(part.delta or "" for part in OpenAI(model="gpt-4o-mini").stream_complete("hello"))
