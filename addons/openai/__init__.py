"""Understand what passes between clients and OpenAI-shaped servers.

Pure functions over bytes, headers and dicts: no mitmproxy, no files, no network (the vocabularies of
:mod:`addons.openai.vocabulary` are read from disk, once).

>>> import json
>>> body = {"object": "chat.completion", "model": "gpt-4o", "choices": [],
...         "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}}
>>> response = Response(200, [("content-type", "application/json")], json.dumps(body).encode())
>>> summary = summarize(Request("POST", "/v1/chat/completions"), response)
>>> summary.model, summary.usage.input_tokens
('gpt-4o', 9)
"""

from addons.openai.answers.first_token import first_content
from addons.openai.answers.summary import summarize
from addons.openai.http.messages import ApiError, Request, Response, Summary
from addons.openai.usage.usage import Usage

__all__ = ["ApiError", "Request", "Response", "Summary", "Usage", "first_content", "summarize"]
