"""A cache as the Hugging Face hub's client keeps it, and a hub on this machine that gives what a folder holds."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def put_in_cache(cache: Path, name: str, folder: Path, revision: str = "main", commit: str = COMMIT) -> Path:
    """Files as a download leaves them: blobs, and links to them in a snapshot."""
    home = cache / f"models--{name.replace('/', '--')}"
    snapshot = home / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (home / "blobs").mkdir(exist_ok=True)
    for file in folder.iterdir():
        blob = home / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        blob.write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    if revision != commit:
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / revision).write_text(commit)
    return snapshot


@contextmanager
def hub(folder: Path, asked: list[str]) -> Iterator[str]:
    """The address of a hub that knows `org/name` (a folder), `org/gated`, and nothing else.

    Args:
        asked: gets the path of each request.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def _give(self, status: int, body: bytes, head: bool, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if not head:
                self.wfile.write(body)

        def _answer(self, head: bool) -> None:
            asked.append(self.path)
            path = self.path.partition("?")[0]
            if "/org/gated" in path:
                self._give(403, b"", head, X_Error_Code="GatedRepo", X_Error_Message="Access is restricted.")
            elif "/org/name" not in path:
                self._give(404, b"", head, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found.")
            elif "/no-such-revision" in path:
                self._give(404, b"", head, X_Error_Code="RevisionNotFound", X_Error_Message="Invalid rev id.")
            elif path.startswith("/api/models/org/name"):
                files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
                if "/tree/" in path:
                    read = {name: (folder / name).read_bytes() for name in files}
                    tree = [
                        {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                        for name, data in read.items()
                    ]
                    self._give(200, json.dumps(tree).encode(), head, Content_Type="application/json")
                    return
                said = {"id": "org/name", "sha": COMMIT, "private": False, "gated": False, "disabled": False,
                        "tags": [], "downloads": 0, "likes": 0,
                        "siblings": [{"rfilename": name} for name in files]}  # fmt: skip
                self._give(200, json.dumps(said).encode(), head, Content_Type="application/json")
            else:
                body = (folder / path.split("/", 5)[5]).read_bytes()
                etag = f'"{hashlib.sha1(body).hexdigest()}"'
                self._give(200, body, head, ETag=etag, X_Repo_Commit=COMMIT, Accept_Ranges="bytes")

        def do_GET(self) -> None:
            self._answer(head=False)

        def do_HEAD(self) -> None:
            self._answer(head=True)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
