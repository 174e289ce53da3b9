"""A hub of our own for one repository: ``python hub_server.py FOLDER LOG [CUT]`` prints its address.

Serves what `rsvlm models pull` asks of the Hugging Face hub: the list of files with sizes and hashes, and the files,
with ranges. ``CUT`` names a file that breaks off in its middle, however often the client tries again, until the server
is asked for ``/mend``; ``ALTER`` before a name sends one byte of it wrong. Each request is a line of the log.
"""

import hashlib
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REPOSITORY, COMMIT = "someone/tiny", "c0ffee" + "0" * 34
LARGE = 20_000


class Hub(BaseHTTPRequestHandler):
    folder, log, fault = Path(), Path(), ""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        with self.log.open("a") as log:
            log.write(f"{self.command} {self.path} {asked}\n")
        if self.path == "/mend":
            Hub.fault = ""
            return self.answer(b"mended")
        if re.match(rf"/api/models/{REPOSITORY}(/revision/[^/?]+)?(\?|$)", self.path):
            return self.answer(json.dumps(self.listing()).encode(), "application/json")
        found = re.match(rf"/{REPOSITORY}/resolve/{COMMIT}/([^/?]+)$", self.path)
        if not found or not (self.folder / found[1]).is_file():
            return self.refuse()
        self.send_file(found[1], asked)

    def listing(self) -> dict:
        siblings = []
        for path in sorted(self.folder.iterdir()):
            content = path.read_bytes()
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            sibling = {"rfilename": path.name, "size": len(content), "blobId": blob}
            if len(content) > LARGE:
                sibling["lfs"] = {
                    "size": len(content),
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "pointerSize": 130,
                }
            siblings.append(sibling)
        return {"id": REPOSITORY, "modelId": REPOSITORY, "sha": COMMIT, "siblings": siblings}

    def send_file(self, name: str, asked: str) -> None:
        content = (self.folder / name).read_bytes()
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        if self.fault == f"ALTER {name}":
            content = bytes([content[0] ^ 1]) + content[1:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.fault == name:
            self.wfile.write(content[start : len(content) // 2])
            self.wfile.flush()
            self.connection.close()
            return
        self.wfile.write(content[start:])

    def answer(self, content: bytes, kind: str = "text/plain") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def refuse(self) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


if __name__ == "__main__":
    Hub.folder, Hub.log = Path(sys.argv[1]), Path(sys.argv[2])
    Hub.fault = sys.argv[3] if len(sys.argv) > 3 else ""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
