"""An S3 endpoint on this machine, and the variables that lead to it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

__all__ = ["S3Server", "s3_server"]

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
