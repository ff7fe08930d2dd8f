from agents import Agent, ModelSettings, Runner, function_tool

asked = []


@function_tool
def weather(city: str) -> str:
    asked.append(city)
    return "sunny"


agent = Agent(
    name="a",
    instructions="Answer.",
    model="gpt-4o-mini",
    tools=[weather],
    model_settings=ModelSettings(tool_choice="required"),
)
assert Runner.run_sync(agent, "hello").final_output
assert asked == ["stand-in"]
