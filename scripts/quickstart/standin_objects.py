"""Keep files and batches of the stand-in in memory as long as it runs."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

from scripts.quickstart.standin_answers import Json

Answer = Callable[[str, Json], Json]
"""Answers one line of a batch: the path and the body."""


class Objects:
    """Holds what clients have uploaded, and what was made of it. For one thread at a time."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[Json, bytes]] = {}
        self._batches: dict[str, Json] = {}

    def add_file(self, name: str, content: bytes, purpose: str) -> Json:
        file: Json = {
            "id": f"file-{uuid.uuid4().hex[:24]}",
            "object": "file",
            "bytes": len(content),
            "created_at": int(time.time()),
            "filename": name,
            "purpose": purpose,
            "status": "processed",
        }
        self._files[file["id"]] = file, content
        return file

    def list_files(self) -> Json:
        return _listed([file for file, _ in self._files.values()])

    def file(self, name: str) -> Json | None:
        return self._files[name][0] if name in self._files else None

    def content(self, name: str) -> bytes | None:
        return self._files[name][1] if name in self._files else None

    def delete_file(self, name: str) -> Json | None:
        if self._files.pop(name, None) is None:
            return None
        return {"id": name, "object": "file", "deleted": True}

    def add_batch(self, request: Json) -> Json | None:
        """Begin a batch; it is done when it is looked at. None: there is no such file."""
        if request.get("input_file_id") not in self._files:
            return None
        batch = {
            "id": f"batch_{uuid.uuid4().hex[:24]}",
            "object": "batch",
            "endpoint": request.get("endpoint"),
            "errors": None,
            "input_file_id": request["input_file_id"],
            "completion_window": request.get("completion_window", "24h"),
            "status": "validating",
            "output_file_id": None,
            "created_at": int(time.time()),
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": request.get("metadata"),
        }
        self._batches[batch["id"]] = batch
        return batch

    def list_batches(self) -> Json:
        return _listed([*self._batches.values()])

    def batch(self, name: str, answer: Answer) -> Json | None:
        """Look at a batch, which completes it: each line of its file is answered."""
        batch = self._batches.get(name)
        if batch is None or batch["status"] != "validating":
            return batch
        lines = [self._line(line, answer) for line in self._lines(batch["input_file_id"])]
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        batch["output_file_id"] = self.add_file(f"{name}_output.jsonl", content, "batch_output")["id"]
        batch["request_counts"] = {"total": len(lines), "completed": len(lines), "failed": 0}
        batch["status"], batch["completed_at"] = "completed", int(time.time())
        return batch

    def _lines(self, file_id: str) -> list[Any]:
        content = self.content(file_id) or b""
        return [json.loads(line) for line in content.splitlines() if line.strip()]

    def _line(self, line: Any, answer: Answer) -> Json:
        response = {
            "status_code": 200,
            "request_id": f"req_{uuid.uuid4().hex}",
            "body": answer(line["url"], line["body"]),
        }
        return {
            "id": f"batch_req_{uuid.uuid4().hex[:24]}",
            "custom_id": line.get("custom_id"),
            "response": response,
            "error": None,
        }


def _listed(data: list[Json]) -> Json:
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
    return {"object": "list", "data": data, "has_more": False, **ends}
