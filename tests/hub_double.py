"""A double of the Hugging Face Hub on a loopback socket: as much of it as `datasets` asks for when it loads a dataset.

`HF_ENDPOINT` leads `datasets` here. It serves repositories of plain files at one commit each; a gated one answers as
the Hub does to somebody who was not let in. `asked` lists the requests.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class HubDouble:
    """Repositories by name, each a mapping of path to content; `commits` are their revisions."""

    repositories: dict[str, dict[str, bytes]]
    gated: frozenset[str] = frozenset()
    commits: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def commit(self, repository: str) -> str:
        """Return the one revision of a repository."""
        return self.commits.setdefault(repository, hashlib.sha1(repository.encode()).hexdigest())

    @contextmanager
    def serving(self) -> Iterator["HubDouble"]:
        """Listen on a free port for as long as the block lasts."""
        hub = self

        class Handler(_Handler):
            double = hub

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.url = f"http://127.0.0.1:{server.server_address[1]}"
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    double: HubDouble

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.double.asked.append(f"{self.command} {path}")
        words = path.strip("/").split("/")
        if words[:2] == ["api", "datasets"]:
            self._api("/".join(words[2:4]), words[4:])
        elif words[0] == "datasets" and words[3:4] == ["resolve"]:
            self._file("/".join(words[1:3]), words[4], "/".join(words[5:]))
        else:
            self._refuse(404, "EntryNotFound", "Entry not found")

    def _api(self, repository: str, rest: list[str]) -> None:
        if not self._may_see(repository, "main" if len(rest) < 2 else rest[1]):
            return
        files = self.double.repositories[repository]
        if rest[:1] == ["tree"]:
            self._tree(files, "/".join(rest[2:]))
        elif rest[:1] == ["paths-info"]:
            wanted = json.loads(self._body)["paths"]
            self._json([self._entry(path, files[path]) for path in wanted if path in files])
        else:
            siblings = [{"rfilename": path} for path in files]
            self._json({"id": repository, "sha": self.double.commit(repository), "siblings": siblings, "tags": []})

    def _tree(self, files: dict[str, bytes], folder: str) -> None:
        """List what lies directly in a folder; `datasets` asks for the deeper ones by name."""
        prefix = f"{folder}/" if folder else ""
        inside = {path: content for path, content in files.items() if path.startswith(prefix)}
        if folder and not inside:
            self._refuse(404, "EntryNotFound", f"{folder} does not exist")
            return
        flat = {path: content for path, content in inside.items() if "/" not in path[len(prefix) :]}
        deeper = {prefix + path[len(prefix) :].split("/")[0] for path in inside.keys() - flat.keys()}
        folders = [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in sorted(deeper)]
        self._json([*folders, *(self._entry(path, content) for path, content in flat.items())])

    def _entry(self, path: str, content: bytes) -> dict[str, object]:
        return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha256(content).hexdigest()[:40]}

    def _file(self, repository: str, revision: str, path: str) -> None:
        if not self._may_see(repository, revision):
            return
        content = self.double.repositories[repository].get(path)
        if content is None:
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        self._send(
            200, content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Content-Type": "text/plain"}, repository
        )

    def _may_see(self, repository: str, revision: str) -> bool:
        if repository in self.double.gated:
            self._refuse(403, "GatedRepo", f"Access to dataset {repository} is restricted")
        elif repository not in self.double.repositories:
            self._refuse(404, "RepoNotFound", "Repository not found")
        elif revision not in ("main", self.double.commit(repository)):
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return True
        return False

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "application/json"}
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _send(self, status: int, content: bytes, headers: dict[str, str], repository: str = "") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if repository:
            self.send_header("X-Repo-Commit", self.double.commit(repository))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
