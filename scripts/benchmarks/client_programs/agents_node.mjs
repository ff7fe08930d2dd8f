import { Agent, run, tool } from "@openai/agents";
import { z } from "zod";

let asked = "";
const weather = tool({
  name: "weather",
  description: "Tell the weather.",
  parameters: z.object({ city: z.string() }),
  execute: async ({ city }) => ((asked = city), "sunny"),
});
const modelSettings = { toolChoice: "required" };
const agent = new Agent({ name: "a", instructions: "Answer.", model: "gpt-4o-mini", tools: [weather], modelSettings });
const result = await run(agent, "hello");
if (!result.finalOutput) throw new Error("no answer");
if (asked !== "stand-in") throw new Error("no tool call");
