"""Files in an S3 bucket, or in any store that speaks S3, through pyarrow."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress

import pyarrow
from pyarrow import fs

from trainables.errors import CheckpointError

__all__ = ["S3Storage"]

_URI = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?P<prefix>(/[^/]+)*)/*")
_ATTEMPTS = 5
_CONNECT_TIMEOUT_S = 5.0
_REQUEST_TIMEOUT_S = 60.0
_DEFAULT_REGION = "us-east-1"
_REFUSED = ("ACCESS_DENIED", "InvalidAccessKeyId", "SignatureDoesNotMatch", "INVALID_ACCESS_KEY")


class S3Storage:
    """Files below a prefix of a bucket.

    An object appears as a whole or not at all. Endpoint, region and credentials come from the
    usual variables (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, …) or
    the other places where AWS's tools look; they are part of no location and no message.

    Args:
        root: `s3://bucket` or `s3://bucket/prefix`.

    Raises:
        CheckpointError: If the root is no such text.
    """

    def __init__(self, root: str) -> None:
        parts = _URI.fullmatch(root)
        if parts is None:
            # the text may hold a password: it is not repeated
            raise CheckpointError(
                "checkpoints lie in a folder or at s3://BUCKET/PREFIX (no user, password or "
                "query in it); this location is neither"
            )
        self._base = parts["bucket"] + parts["prefix"]
        self._files = _connect(os.environ)

    def location(self, name: str) -> str:
        """See `Storage`: the object's URI."""
        return f"s3://{self._base}/{name}"

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        with _plain_errors(), self._files.open_input_file(self._path(name)) as file:
            content: bytes = file.read(file.size())  # without a size, in small requests
            return content

    def write(self, name: str, content: bytes, *, keep_as: str | None = None) -> None:
        """See `Storage`: the one before is copied by the server, then replaced in one go."""
        with _plain_errors():
            if keep_as is not None:
                with suppress(FileNotFoundError), _plain_errors():
                    self._files.copy_file(self._path(name), self._path(keep_as))
            # no `with`: leaving it by an error would complete the object with half its content
            stream = self._files.open_output_stream(self._path(name), compression=None)
            stream.write(content)
            stream.close()

    def delete(self, name: str) -> None:
        """See `Storage`."""
        with _plain_errors(), suppress(FileNotFoundError):
            self._files.delete_file(self._path(name))

    def version(self, name: str) -> Hashable | None:
        """See `Storage`."""
        with _plain_errors():
            found = self._files.get_file_info(self._path(name))
        if found.type != fs.FileType.File:
            return None
        return found.mtime_ns, found.size

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}"


def _connect(variables: Mapping[str, str]) -> fs.S3FileSystem:
    endpoint = variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL")
    region = variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION")
    options = {}
    if endpoint:
        scheme, _, host = endpoint.rpartition("://")
        options = {"endpoint_override": host.rstrip("/"), "scheme": scheme or "https"}
        # a store of one's own has no regions; looking one up would ask Amazon's servers
        region = region or _DEFAULT_REGION
    if region:
        options["region"] = region
    return fs.S3FileSystem(
        **options,
        allow_delayed_open=True,  # a small object takes one request, not three
        connect_timeout=_CONNECT_TIMEOUT_S,
        request_timeout=_REQUEST_TIMEOUT_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
    )


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn what pyarrow raises into the errors that `Storage` promises."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, pyarrow.ArrowException) as error:
        text = " ".join(str(error).split())
        if "NO_SUCH_KEY" in text:
            raise FileNotFoundError(text) from error
        if any(word in text for word in _REFUSED):
            raise PermissionError(text) from error
        raise ConnectionError(text) from error
