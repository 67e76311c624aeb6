"""The conversations that every published template renders."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather at a place.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "City, as in \"Zürich\""},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "description": "Unit"},
                "days": {"type": "integer", "description": "Days ahead", "default": 1},
                "detail": {"type": "object", "description": "What to tell",
                           "properties": {"wind": {"type": "boolean", "description": "Wind too"}}},
            },
            "required": ["place"],
        },
        "return": {"type": "string"},
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "Tells the time.",
        "parameters": {"type": "object", "properties": {"zone": {"type": "string", "description": "Time zone"}},
                       "required": ["zone"]},
    },
}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


CALL = {"id": "call12345", "type": "function",
        "function": {"name": "get_weather", "arguments": {"place": "Zürich", "days": 2, "detail": {"wind": True}}}}

ALL = {
    "one question": {"messages": [user("What is the capital of France?")]},
    "system": {"messages": [{"role": "system", "content": "You are terse.\nAnswer in German. "}, user(" Hello! ")]},
    "several turns": {"messages": [
        {"role": "system", "content": "Be kind."}, user("One"), assistant("Two <b>&</b> \"quoted\""), user("Three\n\nlines"),
        assistant("<think>\nfirst I think\n</think>\n\nFour"), user("Fünf 世界 🎉 <|im_end|>")]},
    "no prompt to go on": {"messages": [user("One"), assistant("Two")], "add_generation_prompt": False},
    "tools offered": {"messages": [{"role": "system", "content": "Use tools."}, user("Weather in Zürich?")],
                      "tools": [WEATHER, CLOCK]},
    "tool called": {"messages": [
        user("Weather in Zürich?"), assistant("", tool_calls=[CALL]),
        {"role": "tool", "name": "get_weather", "tool_call_id": "call12345", "content": "{\"sky\": \"clear\", \"t\": 21.5}"},
        assistant("It is clear, 21.5 °C."), user("And the time?")], "tools": [WEATHER, CLOCK]},
    "tool result last": {"messages": [
        {"role": "system", "content": "Use tools."}, user("Weather in Zürich?"), assistant("", tool_calls=[CALL]),
        {"role": "tool", "name": "get_weather", "tool_call_id": "call12345", "content": "clear"}],
        "tools": [WEATHER]},
    "null content": {"messages": [user("Weather?"), assistant(None, tool_calls=[CALL]), user("Well?")]},
    "empty text": {"messages": [user("")]},
    "nothing": {"messages": []},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look: "},
                                                        {"type": "text", "text": "parts"}]}]},
    "reasoning": {"messages": [user("2+2?"), assistant("4", reasoning_content="Two and two make four."), user("3+3?")],
                  "variables": {"enable_thinking": False, "thinking": True, "date_string": "1 Jan 2026",
                                "reasoning_effort": "high",
                                "datetime": "today", "functions": "[]"}},
}
