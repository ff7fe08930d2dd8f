import { generateText, streamText, tool } from "ai";
import { openai } from "@ai-sdk/openai";
import { z } from "zod";

const model = openai("gpt-4o-mini");
const prompt = "hello";
if (!(await generateText({ model, prompt })).text) throw new Error("no answer");
let text = "";
for await (const part of streamText({ model, prompt }).textStream) text += part;
if (!text) throw new Error("no stream");
const weather = tool({ description: "Tell the weather.", inputSchema: z.object({ city: z.string() }) });
const called = await generateText({ model, prompt, tools: { weather }, toolChoice: "required" });
if (called.toolCalls[0]?.input.city !== "stand-in") throw new Error("no tool call");
