"""Reaching a Ray job server: its address, its token, and what to do when they do not fit.

Ray turns token authentication on for a local cluster by itself, but a client that names an
explicit address never does (it only reads `RAY_AUTH_MODE`). So the token is looked up here, in
Ray's own order, and sent as a header to servers that ask for one, and to no other.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tuner.errors import ConfigurationError

__all__ = [
    "DEFAULT_ADDRESS",
    "ClusterAccess",
    "find_token",
    "normalise_address",
    "open_access",
    "wrong_token_message",
]

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
"""Where `ray start --head` serves its dashboard and job API."""

PROBE_TIMEOUT_S = 10.0

_HOW_TO_SET_TOKEN = (
    "Set RAY_AUTH_TOKEN to the cluster's token, or RAY_AUTH_TOKEN_PATH to a file that holds it, "
    "or put it into ~/.ray/auth_token (on the head, `ray get-auth-token` prints it; with KubeRay "
    "it is the key auth_token of the secret that authOptions names)."
)


@dataclass(frozen=True)
class ClusterAccess:
    """A job server that answered, and how to talk to it.

    Attributes:
        address: Base URL, without a slash at the end.
        token: Bearer token, if the server asks for one; never shown.
        warnings: What the user should know about the server's security, one line each.
    """

    address: str
    token: str | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()

    def headers(self) -> dict[str, str]:
        """Headers that authenticate a request."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}


def normalise_address(address: str) -> str:
    """Complete and check the URL of a job server.

    Raises:
        ConfigurationError: If it is not an HTTP address, or carries credentials.
    """
    url = address.strip()
    url = url if "://" in url else f"http://{url}"
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ConfigurationError(
            f"--address: credentials in the URL of {parts.hostname} would end up in logs. "
            f"Leave them out. {_HOW_TO_SET_TOKEN}"
        )
    try:
        _ = parts.port  # parsed, and so checked, on access
        usable = parts.scheme in ("http", "https") and parts.hostname not in (None, "auto")
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(
            f"--address: {address!r} is not the address of a Ray job server. Expected the "
            f"dashboard's URL, such as {DEFAULT_ADDRESS} (not ray://, not the GCS port)."
        )
    return url.rstrip("/")


def find_token(environment: Mapping[str, str], *, home: Path | None = None) -> str | None:
    """Look the cluster's token up, in Ray's order: variable, file of variable, `~/.ray`.

    Args:
        environment: Environment variables.
        home: The user's home folder; the present user's if None.

    Raises:
        ConfigurationError: If the named token file cannot be read or the token is malformed.
    """
    if token := environment.get("RAY_AUTH_TOKEN", "").strip():
        return _checked(token, "RAY_AUTH_TOKEN")
    if named := environment.get("RAY_AUTH_TOKEN_PATH"):
        return _checked(_read_token(Path(named), "RAY_AUTH_TOKEN_PATH"), "RAY_AUTH_TOKEN_PATH")
    default = (home or Path.home()) / ".ray" / "auth_token"
    if not default.is_file():
        return None
    return _checked(_read_token(default, str(default)), str(default))


def open_access(address: str, *, token: str | None) -> ClusterAccess:
    """Ask a job server whether it wants a token, and settle how to talk to it.

    The probe (`/api/authentication_mode`) is public, and carries no token.

    Args:
        address: URL of the job server, with or without scheme.
        token: Token at hand, if any. It is kept only if the server asks for one.

    Raises:
        ConfigurationError: If nothing usable answers, or a token is needed and missing.
    """
    url = normalise_address(address)
    mode = _authentication_mode(url)
    loopback = _is_loopback(urlsplit(url).hostname or "")
    if mode == "disabled":
        open_to_all = (
            f"The Ray cluster at {url} has no authentication: whoever reaches it can run any "
            "code there. Start it with RAY_AUTH_MODE=token and a token."
        )
        return ClusterAccess(url, warnings=() if loopback else (open_to_all,))
    if token is None:
        raise ConfigurationError(
            f"The Ray cluster at {url} asks for a token, and none was found. {_HOW_TO_SET_TOKEN}"
        )
    in_clear = f"The token travels unencrypted to {url}: use https, or a tunnel to 127.0.0.1."
    exposed = url.startswith("http://") and not loopback
    return ClusterAccess(url, token=token, warnings=(in_clear,) if exposed else ())


def wrong_token_message(address: str) -> str:
    """What to tell a user whose token the server refused."""
    return (
        f"The Ray cluster at {address} refused the token: it is not this cluster's. "
        f"{_HOW_TO_SET_TOKEN}"
    )


def _read_token(path: Path, source: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigurationError(
            f"{source}: cannot read the token file {path} ({reason}). {_HOW_TO_SET_TOKEN}"
        ) from error


def _checked(token: str, source: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(
            f"{source}: the token is empty or holds characters that no token has (it must be one "
            f"line of printable ASCII without spaces; its value is not shown). {_HOW_TO_SET_TOKEN}"
        )
    return token


def _authentication_mode(url: str) -> str:
    probe = f"{url}/api/authentication_mode"
    try:
        with urllib.request.urlopen(probe, timeout=PROBE_TIMEOUT_S) as response:
            return str(json.load(response)["authentication_mode"])
    except (urllib.error.HTTPError, ValueError, KeyError, TypeError) as error:
        found = f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else "no JSON"
        raise ConfigurationError(
            f"Something answers at {url}, but not as a Ray job server does "
            f"({probe}: {found}). Give the URL of the Ray dashboard (Ray 2.60), usually port 8265."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise ConfigurationError(
            f"No Ray job server can be reached at {url} ({reason}). Start one with "
            "`ray start --head`, open a tunnel to it (`kubectl port-forward service/… 8265` or "
            "`ray dashboard CLUSTER.yaml`), or give its URL with --address."
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
