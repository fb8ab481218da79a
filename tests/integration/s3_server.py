"""An S3 endpoint on this machine, and the variables that lead to it."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import boto3
from moto.server import ThreadedMotoServer

__all__ = ["S3Server", "s3_server", "s3_without_listing"]

BUCKET = "checkpoints"
SECRET = "s3-secret-of-the-test"


@dataclass(frozen=True)
class S3Server:
    """A server with one bucket.

    Attributes:
        variables: Environment variables by which clients find it and are let in.
        client: For looking into the bucket, and damaging what is there.
    """

    variables: dict[str, str]
    client: Any
    bucket: str = BUCKET
    secret: str = SECRET

    def keys(self, prefix: str = "") -> dict[str, int]:
        """Sizes of the objects below a prefix, in bytes."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix
        )
        found = {o["Key"]: o["Size"] for page in pages for o in page.get("Contents", ())}
        return {key: size for key, size in found.items() if not key.endswith("/")}

    def read(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return content

    def write(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=content)


@contextlib.contextmanager
def s3_server() -> Iterator[S3Server]:
    """Serve S3 on a free port for as long as the context is open."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # one line per request otherwise
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        variables = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "of-the-test",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }
        client = boto3.client(
            "s3",
            endpoint_url=variables["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=SECRET,
        )
        client.create_bucket(Bucket=BUCKET)
        yield S3Server(variables, client)
    finally:
        server.stop()


class WithoutListing(BaseHTTPRequestHandler):
    """Answers as AWS does where `s3:ListBucket` is missing: 403 for a key that is not there."""

    protocol_version = "HTTP/1.1"
    objects: ClassVar[dict[str, bytes]] = {}

    def do_PUT(self) -> None:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            content = b"".join(iter(self._chunk, b""))
        else:
            content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            # size and signature in a line of their own; then the content, all of it here
            size, _, rest = content.partition(b"\r\n")
            content = rest[: int(size.partition(b";")[0], 16)]
        self.objects[self.path.partition("?")[0]] = content
        self._answer(200, b"")

    def do_HEAD(self) -> None:
        self._read()

    def do_GET(self) -> None:
        self._read()

    def do_DELETE(self) -> None:
        self.objects.pop(self.path.partition("?")[0], None)
        self._answer(204, b"")

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().strip(), 16)
        content = self.rfile.read(size)
        self.rfile.readline()
        return content

    def _read(self) -> None:
        content = self.objects.get(self.path.partition("?")[0])
        if content is None:
            self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        else:
            self._answer(200, content)

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextlib.contextmanager
def s3_without_listing() -> Iterator[str]:
    """The URL of a store whose users may do everything but list."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), WithoutListing)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
