# SPDX-License-Identifier: Apache-2.0
"""A Hugging Face hub of one repository, on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the repository holds and how it behaves."""

    files: dict[str, bytes]  # path -> content
    licence: str = "apache-2.0"
    gated: bool = False
    cut_after: int = 0  # bytes after which the first download breaks off, 0 = never
    checksum: str = ""  # what the hub says of every file, "" = the truth
    endpoint: str = ""
    ranges: list[str] = field(default_factory=list)  # what was asked for, one entry per download


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Run the hub; its `endpoint` is then set."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, body: bool) -> None:
            path = self.path.split("?")[0]
            if path.startswith("/api/models/"):
                card = {"id": path[12:], "modelId": path[12:], "cardData": {"license": hub.licence}, "tags": []}
                return self._send(200, json.dumps(card).encode(), {"Content-Type": "application/json"}, body)
            file = path.partition("/resolve/main/")[2] or path.partition(f"/resolve/{COMMIT}/")[2]
            if hub.gated:
                return self._send(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"}, body)
            if file not in hub.files:
                return self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, body)
            return self._send_file(hub.files[file], body)

        def _send_file(self, content: bytes, body: bool) -> None:
            asked = self.headers.get("Range", "")
            start = int(asked.removeprefix("bytes=").partition("-")[0] or 0) if asked else 0
            digest = hub.checksum or hashlib.sha256(content).hexdigest()
            headers = {
                "ETag": f'"{digest}"', "X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content)),
                "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes",
            }  # fmt: skip
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            if body:
                hub.ranges.append(asked)
            self._send(206 if start else 200, content[start:], headers, body)

        def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                if hub.cut_after and len(content) > hub.cut_after:
                    content, hub.cut_after = content[: hub.cut_after], 0
                    self.close_connection = True
                self.wfile.write(content)

    return Handler
