"""Addresses and tokens, against small servers that answer as Ray's does or does not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tuner.adapters.job_access import ClusterAccess, find_token, normalise_address, open_access
from tuner.errors import ConfigurationError

Serve = Callable[[int, str], str]


@pytest.fixture
def seen_headers() -> list[dict[str, str]]:
    return []


@pytest.fixture
def serve(seen_headers: list[dict[str, str]]) -> Iterator[Serve]:
    """Start servers that give one fixed answer; return their address."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int, body: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen_headers.append(dict(self.headers))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: object) -> None:
                """Keep the tests' output clean."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def mode(name: str) -> str:
    return json.dumps({"authentication_mode": name})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("127.0.0.1:8265", "http://127.0.0.1:8265"),
        (" http://head:8265/ ", "http://head:8265"),
        ("https://ray.example.org/cluster", "https://ray.example.org/cluster"),
    ],
)
def test_addresses_are_completed(given: str, expected: str) -> None:
    assert normalise_address(given) == expected


@pytest.mark.parametrize("given", ["auto", "ray://head:10001", "http://", "http://head:port"])
def test_addresses_of_other_kinds_are_refused(given: str) -> None:
    with pytest.raises(ConfigurationError, match="not the address of a Ray job server"):
        normalise_address(given)


def test_credentials_in_an_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigurationError, match="credentials in the URL of head") as refused:
        normalise_address("http://ann:hunter2@head:8265")
    assert "hunter2" not in str(refused.value)


def test_the_token_is_looked_up_in_rays_order(tmp_path: Path) -> None:
    named = tmp_path / "named"
    named.write_text("from-file\n")
    assert find_token({}, home=tmp_path) is None

    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("from-home\n")
    assert find_token({}, home=tmp_path) == "from-home"
    by_path = {"RAY_AUTH_TOKEN_PATH": str(named)}
    assert find_token(by_path, home=tmp_path) == "from-file"
    assert find_token({**by_path, "RAY_AUTH_TOKEN": " direct "}, home=tmp_path) == "direct"


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"RAY_AUTH_TOKEN_PATH.*nowhere.*No such file"):
        find_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "nowhere")}, home=tmp_path)


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "schlüssel"])
def test_a_malformed_token_is_refused_and_not_shown(token: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds characters that no token has") as refused:
        find_token({"RAY_AUTH_TOKEN": token}, home=tmp_path)
    assert token not in str(refused.value)


def test_the_token_goes_only_to_a_server_that_asks_for_it(
    serve: Serve, seen_headers: list[dict[str, str]]
) -> None:
    guarded = open_access(serve(200, mode("token")), token="t0ken")
    assert guarded.headers() == {"Authorization": "Bearer t0ken"}

    open_server = open_access(serve(200, mode("disabled")), token="t0ken")
    assert open_server.headers() == {}
    assert not any("Authorization" in headers for headers in seen_headers)


def test_a_token_is_never_part_of_the_representation() -> None:
    assert "t0ken" not in repr(ClusterAccess("http://head:8265", token="t0ken"))


def test_a_missing_token_says_what_to_set(serve: Serve) -> None:
    with pytest.raises(ConfigurationError, match=r"asks for a token.*RAY_AUTH_TOKEN_PATH"):
        open_access(serve(200, mode("token")), token=None)


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [(404, "", "HTTP 404"), (200, "<html>", "no JSON"), (200, "[]", "no JSON")],
)
def test_another_kind_of_server_is_recognised(
    serve: Serve, status: int, body: str, found: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"not as a Ray job server does .*{found}"):
        open_access(serve(status, body), token=None)


def test_a_dead_address_is_named_with_the_cure() -> None:
    with pytest.raises(
        ConfigurationError, match=r"No Ray job server .*127\.0\.0\.1:1 .*ray start"
    ):
        open_access("127.0.0.1:1", token=None)
