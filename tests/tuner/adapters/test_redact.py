"""Secrets are masked; what is not secret stays readable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.adapters.redact import redact_text, redact_url, redact_value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://ann:pw@db:5432/tuner", "postgresql://ann:***@db:5432/tuner"),
        ("postgresql+psycopg2://ann:p@:s:s@db/t", "postgresql+psycopg2://ann:***@db/t"),
        ("postgresql://ann:p/w@db/t", "postgresql://ann:***@db/t"),
        ("http://h:5000/models/a@champion", "http://h:5000/models/a@champion"),
        ("http://:pw@host", "http://:***@host"),
        ("https://h/x?token=abc&page=2", "https://h/x?token=***&page=2"),
        ("s3://b/k?X-Amz-Signature=ab12&y=1", "s3://b/k?X-Amz-Signature=***&y=1"),
        ("postgresql://db/t?password=x&sslmode=on", "postgresql://db/t?password=***&sslmode=on"),
        ("sqlite:////data/runs/mlflow.db", "sqlite:////data/runs/mlflow.db"),
        ("http://127.0.0.1:5000/#/experiments", "http://127.0.0.1:5000/#/experiments"),
        ("journal:/tmp/a@b/studies", "journal:/tmp/a@b/studies"),
    ],
)
def test_urls(text: str, expected: str) -> None:
    assert redact_url(text) == expected
    assert redact_text(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer ***"),
        ("MLFLOW_TRACKING_PASSWORD=hunter2 next", "MLFLOW_TRACKING_PASSWORD=*** next"),
        ("{'aws_secret_access_key': 'abc/d+e', 'n': 1}", "{'aws_secret_access_key': ***, 'n': 1}"),
        ("two urls a://u:p@h and b://v:q@i", "two urls a://u:***@h and b://v:***@i"),
        ("loss=0.5 lr_p=1e-4 epoch: 3", "loss=0.5 lr_p=1e-4 epoch: 3"),
        ("stopped at epoch 2, rung 1", "stopped at epoch 2, rung 1"),
    ],
)
def test_free_text(text: str, expected: str) -> None:
    assert redact_text(text) == expected


def test_a_value_is_masked_by_its_name() -> None:
    assert redact_value("api_token", "abc") == "***"
    assert redact_value("tuner.db_password", "abc") == "***"
    assert redact_value("backbone", "videopose") == "videopose"
    assert redact_value("storage", "mysql://a:b@c/d") == "mysql://a:***@c/d"


@given(
    user=st.text("abcXYZ019_.-", max_size=8),
    password=st.text(
        st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/"), min_size=4
    )
    | st.from_regex(r"[a-z]{2}/[a-z@]{2}", fullmatch=True),
)
def test_no_password_of_a_url_is_left(user: str, password: str) -> None:
    shown = redact_text(f"failed: postgresql://{user}:{password}@host/name")
    assert shown == f"failed: postgresql://{user}:***@host/name"
