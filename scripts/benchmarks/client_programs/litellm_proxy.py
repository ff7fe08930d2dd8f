"""Do what an application does that was written for LiteLLM's proxy, and say as JSON how each of it ended."""

import json

import litellm

HELLO = [{"role": "user", "content": "hello"}]
CHAT, OTHER = "litellm_proxy/gpt-4o-mini", "litellm_proxy/o3"


def ended(call):
    try:
        return call()
    except Exception as error:
        return type(error).__name__


def streamed():
    chunks = litellm.completion(model=CHAT, messages=HELLO, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def embedded():
    answer = litellm.embedding(model="litellm_proxy/text-embedding-3-small", input=["hello"])
    return len(answer.data[0]["embedding"])


def completed(**more):
    return litellm.completion(model=CHAT, messages=HELLO, num_retries=0, max_retries=0, **more)


found = {
    "completion": ended(lambda: completed(user="ada").choices[0].message.content),
    "stream": ended(streamed),
    "responses": ended(lambda: litellm.responses(model=CHAT, input="hello").output[0].content[0].text),
    "embedding": ended(embedded),
    "another model": ended(lambda: litellm.completion(model=OTHER, messages=HELLO, max_retries=0)),
    "another key": ended(lambda: completed(api_key="sk-llmp-another")),
    "beyond the quota": ended(completed),
}
print(json.dumps(found))
