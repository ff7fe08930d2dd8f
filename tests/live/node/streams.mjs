// Reads streams to their end with the openai SDK, one after the other; prints what each of them said.
// Environment: OPENAI_BASE_URL, OPENAI_API_KEY, LATE (milliseconds, separated by commas), HTTP2, CA_FILE.
import { readFileSync } from "node:fs";
import OpenAI from "openai";
import { Agent, fetch as undiciFetch } from "undici";

const options = { maxRetries: 0 };
if (process.env.HTTP2) {
  const dispatcher = new Agent({ allowH2: true, connect: { ca: readFileSync(process.env.CA_FILE) } });
  options.fetch = (url, init) => undiciFetch(url, { ...init, dispatcher });
}
const client = new OpenAI(options);
const said = [];
for (const late of process.env.LATE.split(",")) {
  let text = "";
  const chat = { model: "gpt-4o-mini", messages: [{ role: "user", content: "hello" }], user: late };
  for await (const chunk of await client.chat.completions.create({ ...chat, stream: true })) {
    text += chunk.choices[0]?.delta?.content ?? "";
  }
  said.push(text);
  text = "";
  const asked = { model: "gpt-4o-mini", input: "hello", user: late };
  for await (const event of await client.responses.create({ ...asked, stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
    if (event.type === "response.completed") break;
  }
  said.push(text);
}
console.log(JSON.stringify(said));
process.exit(0);
