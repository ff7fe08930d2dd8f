import base64
import json

from openai import OpenAI

client = OpenAI()
hello = [{"role": "user", "content": "hello"}]
parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}

# chat, stream, tools
assert client.chat.completions.create(model="gpt-4o-mini", messages=hello).choices[0].message.content
assert list(client.chat.completions.create(model="gpt-4o-mini", messages=hello, stream=True))
insisted = {"messages": hello, "tools": [tool], "tool_choice": "required"}
called = client.chat.completions.create(model="gpt-4o-mini", **insisted).choices[0].message.tool_calls
assert json.loads(called[0].function.arguments)["city"]

# Responses, embeddings, moderations
assert client.responses.create(model="gpt-4o-mini", input="hello").output_text
with client.responses.stream(model="gpt-4o-mini", input="hello") as stream:
    assert stream.get_final_response().output_text
assert client.embeddings.create(model="text-embedding-3-small", input="hello").data
assert client.moderations.create(input="hello").results

# pictures, speech, transcriptions
assert client.images.generate(model="gpt-image-1", prompt="hello").data[0].b64_json
sound = client.audio.speech.create(model="tts-1", voice="alloy", input="hello").read()
assert client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", sound)).text

# files, batches
line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
line["body"] = {"model": "gpt-4o-mini", "messages": hello}
file = client.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
assert client.files.content(file.id).read()
batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
done = client.batches.retrieve(batch.id)
assert "custom_id" in client.files.content(done.output_file_id).text

# Realtime, Responses over a WebSocket
with client.realtime.connect(model="gpt-realtime") as session:
    session.input_audio_buffer.append(audio=base64.b64encode(bytes(4800)).decode())
    session.input_audio_buffer.commit()
    session.response.create()
    assert next(event for event in session if event.type == "response.done").response.usage.total_tokens
with client.responses.connect() as socket:
    socket.response.create(model="gpt-4o-mini", input="hello")
    assert next(event for event in socket if event.type == "response.completed").response.output_text
