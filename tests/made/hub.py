"""A stand-in for the Hugging Face hub in this process: as much of its HTTP interface as pushing and loading take."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0" * 40
Files = dict[str, bytes]
"""Path in a repository -> content; all files are sent with the commit, as the hub has it for small ones."""


@contextmanager
def local_hub() -> Iterator[tuple[str, dict[str, Files]]]:
    """Serve a hub without repositories; yield its address, and the files of each repository by name."""
    repositories: dict[str, Files] = {}
    handler = type("Handler", (_Handler,), {"repositories": repositories})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", repositories
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    repositories: dict[str, Files]
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = self.path.strip("/").split("?")[0].split("/")
        if parts == ["api", "repos", "create"]:
            asked = json.loads(content)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            self.repositories.setdefault(name, {})
            self._answer(200, {"url": f"http://{self.headers['Host']}/{name}", "name": name, "id": name})
        elif parts[4:5] == ["preupload"]:
            files = [
                {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                for each in json.loads(content)["files"]
            ]
            self._answer(200, {"files": files})
        elif parts[4:5] == ["commit"]:
            files = self.repositories["/".join(parts[2:4])]
            for line in map(json.loads, content.decode().splitlines()):
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"http://{self.headers['Host']}/{'/'.join(parts[2:4])}/commit/{COMMIT}"
            self._answer(200, {"success": True, "commitOid": COMMIT, "commitUrl": url})
        else:  # /api/validate-yaml among others
            self._answer(200, {"errors": [], "warnings": []})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        files = self.repositories.get(name)
        if files is None:
            self._answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif parts[0] == "api" and "tree" in parts:
            listed = [
                {"type": "file", "path": path, "size": len(each), "oid": _tag(each)} for path, each in files.items()
            ]
            self._answer(200, listed)
        elif parts[0] == "api":
            siblings = [{"rfilename": path} for path in files]
            self._answer(200, {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "tags": []})
        elif (content := files.get("/".join(parts[4:]))) is not None:
            self._send(200, content, {"ETag": f'"{_tag(content)}"', "X-Repo-Commit": COMMIT})
        else:
            self._answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})

    def _answer(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"} | (headers or {}))

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _tag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
