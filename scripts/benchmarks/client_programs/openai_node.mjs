import OpenAI, { toFile } from "openai";

const client = new OpenAI();
const model = "gpt-4o-mini";
const messages = [{ role: "user", content: "hello" }];
const check = (found, what) => {
  if (!found) throw new Error(`no ${what}`);
};

check((await client.chat.completions.create({ model, messages })).choices[0].message.content, "answer");
let text = "";
for await (const chunk of await client.chat.completions.create({ model, messages, stream: true }))
  text += chunk.choices[0]?.delta?.content ?? "";
check(text, "stream");
const parameters = { type: "object", properties: { city: { type: "string" } } };
const tools = [{ type: "function", function: { name: "weather", parameters } }];
const called = await client.chat.completions.create({ model, messages, tools, tool_choice: "required" });
check(JSON.parse(called.choices[0].message.tool_calls[0].function.arguments).city, "tool call");
check((await client.responses.create({ model, input: "hello" })).output_text, "response");
check((await client.embeddings.create({ model: "text-embedding-3-small", input: "hello" })).data.length, "embedding");
const spoken = await client.audio.speech.create({ model: "tts-1", voice: "alloy", input: "hello" });
const sound = Buffer.from(await spoken.arrayBuffer());
const file = await toFile(sound, "a.wav");
check((await client.audio.transcriptions.create({ model: "gpt-4o-transcribe", file })).text, "transcription");
const uploaded = await client.files.create({ file: await toFile(Buffer.from("{}"), "in.jsonl"), purpose: "batch" });
check(await (await client.files.content(uploaded.id)).text(), "file");
