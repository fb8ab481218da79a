"""Take passwords and tokens out of text before it is shown, logged or stored."""

from __future__ import annotations

import re

__all__ = ["MASK", "redact_text", "redact_url", "redact_value"]

MASK = "***"

_SECRET_NAME = (
    r"(?:[\w.-]*(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|credential|signature)"
    r"[\w.-]*|pwd|pass|sig)"
)
_IS_SECRET_NAME = re.compile(_SECRET_NAME, re.IGNORECASE)
_URL_USER = re.compile(r"(?P<head>\b[A-Za-z][\w+.-]*://[^\s:/@?#]*):(?:[^\s/]*|(?!\d+/)\S*)@")
_URL_QUERY = re.compile(rf"(?P<head>[?&]{_SECRET_NAME}=)[^&\s#\"']+", re.IGNORECASE)
_ASSIGNMENT = re.compile(
    rf"(?P<head>\b{_SECRET_NAME}[\"']?\s*[=:]\s*)(?P<quote>[\"']?)[^\s\"',;&]+(?P=quote)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(?P<head>\b(?:bearer|basic)\s+)[\w.~+/=-]{6,}", re.IGNORECASE)


def redact_url(url: str) -> str:
    """Mask the password and secret query values of a URL; the user name and host stay.

    Works on any text that holds one, malformed URLs included, and never raises.

    >>> redact_url("postgresql://ann:pa:ss@db/tuner?sslmode=require")
    'postgresql://ann:***@db/tuner?sslmode=require'
    """
    return _URL_QUERY.sub(rf"\g<head>{MASK}", _URL_USER.sub(rf"\g<head>:{MASK}@", url))


def redact_text(text: str) -> str:
    """Mask secrets in free text: in URLs, `password=…` pairs and authorization headers."""
    text = _BEARER.sub(rf"\g<head>{MASK}", redact_url(text))
    return _ASSIGNMENT.sub(rf"\g<head>{MASK}", text)


def redact_value(name: str, value: str) -> str:
    """Mask `value` as a whole if `name` says that it is a secret, else the secrets in it."""
    return MASK if _IS_SECRET_NAME.fullmatch(name) and value else redact_text(value)
