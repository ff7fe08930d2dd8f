"""An upstream that keeps what it is given, as the API does: for all holders of its one key alike."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs

from tests.live.upstream import Answer, Seen, json_answer, stream_answer

KINDS = {
    "files": ("file-", "file"),
    "vector_stores": ("vs_", "vector_store"),
    "assistants": ("asst_", "assistant"),
    "threads": ("thread_", "thread"),
    "conversations": ("conv_", "conversation"),
    "containers": ("cntr_", "container"),
    "batches": ("batch_", "batch"),
    "fine_tuning/jobs": ("ftjob-", "fine_tuning.job"),
    "chat/completions": ("chatcmpl-", "chat.completion"),
    "responses": ("resp_", "response"),
    "videos": ("video_", "video"),
    "evals": ("eval_", "eval"),
    "skills": ("skill_", "skill"),
}
PATH = re.compile(rf"/v1/({'|'.join(KINDS)})(?:/([^/]+))?(/.*)?")
USAGE = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}
MODEL = "gpt-4o-mini-2024-07-18"


class Keeping:
    """Answers requests; `objects` is what it keeps, by id."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.pause: threading.Event | None = None
        """Awaited within streams, if set."""
        self._number = 0
        self._lock = threading.Lock()

    def __call__(self, seen: Seen) -> Answer:
        with self._lock:
            return self._answer(seen)

    def _answer(self, seen: Seen) -> Answer:
        path, _, query = seen.path.partition("?")
        if path == "/v1/models":
            return json_answer({"object": "list", "data": [{"id": "gpt-4o"}, *self._all("model")]})
        match = PATH.fullmatch(path)
        if match is None:
            return json_answer({"object": "thing"})
        root, id_, below = match[1], match[2], match[3] or ""
        if id_ in (None, "edits"):
            return self._create(root, seen) if seen.method == "POST" else self._list(root, query)
        if id_ not in self.objects:
            return json_answer({"error": {"message": f"upstream has no {id_}"}}, 404)
        return self._of_one(root, id_, below, seen, query)

    def _of_one(self, root: str, id_: str, below: str, seen: Seen, query: str) -> Answer:
        kept = self.objects[id_]
        if seen.method == "DELETE" and not below:
            del self.objects[id_]
            return json_answer({"id": id_, "object": f"{kept['object']}.deleted", "deleted": True})
        if root == "files" and below == "/content":
            content = self.contents.get(id_, b"x")
            pieces = [content[at : at + 50_000] for at in range(0, len(content), 50_000)]
            return Answer(pieces, headers=[("content-type", "application/octet-stream")])
        if root == "threads" and below == "/runs" and seen.method == "POST":
            run = self.keep("run_", "thread.run", thread_id=id_, status="queued", usage=None, model=MODEL)
            return json_answer(run)
        if root == "threads" and below.startswith("/runs/"):
            return json_answer(self.objects[below.split("/")[2]])
        if root == "responses" and "stream" in parse_qs(query):
            event = {"type": "response.completed", "response": kept, "sequence_number": 9}
            return stream_answer([f"event: response.completed\ndata: {json.dumps(event)}\n\n".encode()])
        return json_answer({"object": "list", "data": []} if below else kept)

    def _create(self, root: str, seen: Seen) -> Answer:
        prefix, kind = KINDS[root]
        sent = seen.json if seen.body[:1] == b"{" else {}
        if root == "responses":
            return self._respond(sent)
        more: dict[str, Any] = {"status": "validating"} if root == "batches" else {}
        if root == "chat/completions":
            more = {
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}],
                "model": MODEL,
            }
        return json_answer(self.keep(prefix, kind, **more))

    def _respond(self, sent: dict[str, Any]) -> Answer:
        background = bool(sent.get("background"))
        response = self.keep(
            *("resp_", "response"),
            status="queued" if background else "completed",
            background=background,
            model=MODEL,
            output=[] if background else [self._message()],
            usage=None if background else USAGE,
        )
        if not sent.get("stream"):
            return json_answer(response)
        begun = {**response, "status": "in_progress", "output": [], "usage": None}
        events: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
        if background:
            response.update(status="completed", usage=USAGE)
        last = {"type": "response.completed", "response": response}
        lines = [
            f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in [*events, last]
        ]
        return stream_answer([lines[0], *([self.pause] if self.pause else []), *lines[1:]])

    def _message(self) -> dict[str, Any]:
        text = {"type": "output_text", "text": "hi", "annotations": []}
        return self.keep("msg_", "item") | {
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [text],
        }

    def _list(self, root: str, query: str) -> Answer:
        every = self._all(KINDS[root][1])
        asked = parse_qs(query)
        if after := asked.get("after"):
            every = every[[one["id"] for one in every].index(after[0]) + 1 :]
        limit = int(asked.get("limit", ["20"])[0])
        page = every[:limit]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
        return json_answer({"object": "list", "data": page, **ends, "has_more": len(every) > limit})

    def _all(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.objects.values() if one["object"] == kind]

    def keep(self, prefix: str, kind: str, **members: Any) -> dict[str, Any]:
        """A new object."""
        self._number += 1
        id_ = f"{prefix}{self._number:012d}"
        made = {"id": id_, "object": kind, "created_at": int(time.time()), **members}
        self.objects[id_] = made
        return made

    def complete(self, id_: str, **members: Any) -> None:
        """What runs on its own comes to its end."""
        self.objects[id_].update({"status": "completed", "usage": USAGE, **members})

    def batch_output(self, batch: str, lines: Iterable[dict[str, Any]]) -> str:
        """A batch comes to its end, with these lines."""
        file = self.keep("file-", "file", purpose="batch_output")["id"]
        self.contents[file] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        self.objects[batch].update(status="completed", output_file_id=file)
        return str(file)
