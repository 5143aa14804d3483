"""Settings are read from variables with one prefix, and invalid ones are named."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from factcensus.api.settings import Limits, Settings, variable_names
from factcensus.api.variables import settings_from_env
from factcensus.indexer.errors import InputError

README = Path(__file__).resolve().parents[2] / "api" / "README.md"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Remove our variables from the environment of the test."""
    for name in [name for name in os.environ if name.startswith("FACTCENSUS_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def test_without_variables_settings_have_their_defaults() -> None:
    assert settings_from_env() == Settings()


def test_every_setting_has_a_variable(environment: pytest.MonkeyPatch) -> None:
    env = {
        "FACTCENSUS_INDEXES": os.pathsep.join(["/a/one", "two"]),
        "FACTCENSUS_HOST": "::1",
        "FACTCENSUS_PORT": "0",
        "FACTCENSUS_LOG_LEVEL": "DEBUG",
        "FACTCENSUS_KEYS_FILE": "/a/keys",
        "FACTCENSUS_ALLOW_ANONYMOUS": "1",
        "FACTCENSUS_REQUESTS_PER_MINUTE": "90",
        "FACTCENSUS_INDEXES_IN": "/a",
        "FACTCENSUS_LOG_FORMAT": "JSON",
        "FACTCENSUS_ADMIN_KEYS": "ann, bob",
        "FACTCENSUS_JOBS_FOLDER": "/a/jobs",
        "FACTCENSUS_CORS_ORIGINS": "https://a.example,https://b.example",
        "FACTCENSUS_FACT_TABLES": os.pathsep.join(["/a/facts.parquet", "two.csv"]),
        "FACTCENSUS_WARM_UP": "0",
        "FACTCENSUS_TELEMETRY": "1",
        "FACTCENSUS_ALLOWED_HOSTS": "a.example, *.b.example",
        "FACTCENSUS_FORWARDED_ALLOW_IPS": "192.0.2.1,10.0.0.0/8",
        "FACTCENSUS_POLL_SECONDS": "2.5",
        "FACTCENSUS_WORKERS": "3",
        "FACTCENSUS_REMOTE": "wiki=http://a:1,http://b:2 pile=http://c:3",
    } | {f"FACTCENSUS_{limit.name.upper()}": str(number) for number, limit in enumerate(fields(Limits), 1)}
    for name, value in env.items():
        environment.setenv(name, value)
    assert set(env) == set(variable_names()) - {"FACTCENSUS_API_KEY"}
    settings = settings_from_env()
    assert settings == Settings(
        indexes=(Path("/a/one"), Path("two")),
        host="::1",
        port=0,
        log_level="debug",
        keys_file=Path("/a/keys"),
        allow_anonymous=True,
        requests_per_minute=90,
        indexes_in=Path("/a"),
        log_format="json",
        admin_keys=("ann", "bob"),
        jobs_folder=Path("/a/jobs"),
        cors_origins=("https://a.example", "https://b.example"),
        fact_tables=(Path("/a/facts.parquet"), Path("two.csv")),
        warm_up=False,
        telemetry=True,
        allowed_hosts=("a.example", "*.b.example"),
        forwarded_allow_ips=("192.0.2.1", "10.0.0.0/8"),
        remote=("wiki=http://a:1,http://b:2", "pile=http://c:3"),
        poll_seconds=2.5,
        workers=3,
        limits=Limits(**{limit.name: number for number, limit in enumerate(fields(Limits), 1)}),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FACTCENSUS_PORT", "http"),
        ("FACTCENSUS_PORT", "-1"),
        ("FACTCENSUS_PORT", "65536"),
        ("FACTCENSUS_MAX_FACTS", "0"),
        ("FACTCENSUS_MAX_FACTS", ""),
        ("FACTCENSUS_MAX_FACTS", "8.0"),
        ("FACTCENSUS_MAX_FACTS", "1_0"),
        ("FACTCENSUS_MAX_FACTS", " 10"),
        ("FACTCENSUS_PORT", "１０"),
        ("FACTCENSUS_POLL_SECONDS", "1_0.5"),
        ("FACTCENSUS_MAX_BODY_BYTES", "1MB"),
        ("FACTCENSUS_LOG_LEVEL", "loud"),
        ("FACTCENSUS_LOG_FORMAT", "xml"),
        ("FACTCENSUS_WARM_UP", "yes"),
        ("FACTCENSUS_WORKERS", "0"),
        ("FACTCENSUS_POLL_SECONDS", "-1"),
        ("FACTCENSUS_POLL_SECONDS", "nan"),
        ("FACTCENSUS_POLL_SECONDS", "often"),
    ],
)
def test_an_invalid_value_is_named(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    with pytest.raises(InputError, match=f"{name} is {value!r}; it must be (a|one of|0 or 1)"):
        settings_from_env()


def test_the_readme_lists_every_variable_with_its_default() -> None:
    listed = dict(
        re.findall(r"^\| `(FACTCENSUS_\w+)` \| `?([^|`]*)`? \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    )
    expected = {"FACTCENSUS_INDEXES": "none", "FACTCENSUS_HOST": "127.0.0.1", "FACTCENSUS_PORT": "8080"}
    expected |= {"FACTCENSUS_LOG_LEVEL": "info", "FACTCENSUS_KEYS_FILE": "none", "FACTCENSUS_ALLOW_ANONYMOUS": "0"}
    expected |= {"FACTCENSUS_REQUESTS_PER_MINUTE": "0", "FACTCENSUS_LOG_FORMAT": "text", "FACTCENSUS_WARM_UP": "1"}
    expected |= {"FACTCENSUS_TELEMETRY": "0"}
    expected |= dict.fromkeys(("FACTCENSUS_INDEXES_IN", "FACTCENSUS_ADMIN_KEYS", "FACTCENSUS_JOBS_FOLDER"), "none")
    expected |= {"FACTCENSUS_WORKERS": "1", "FACTCENSUS_POLL_SECONDS": str(Settings().poll_seconds)}
    expected |= dict.fromkeys(("FACTCENSUS_CORS_ORIGINS", "FACTCENSUS_FACT_TABLES", "FACTCENSUS_REMOTE"), "none")
    expected |= dict.fromkeys(("FACTCENSUS_ALLOWED_HOSTS", "FACTCENSUS_FORWARDED_ALLOW_IPS"), "none")
    expected |= {f"FACTCENSUS_{limit.name.upper()}": str(getattr(Limits(), limit.name)) for limit in fields(Limits)}
    assert {name: default.strip() for name, default in listed.items()} == expected


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("FACTCENSUS_KEY_FILE", "FACTCENSUS_KEYS_FILE"),
        ("FACTCENSUS_ADMINKEYS", "FACTCENSUS_ADMIN_KEYS"),
        ("FACTCENSUS_MAX_JOB_BODY_BYTE", "FACTCENSUS_MAX_JOB_BODY_BYTES"),
        ("FACTCENSUS_ALLOWED_HOST", "FACTCENSUS_ALLOWED_HOSTS"),
    ],
)
def test_an_unknown_variable_is_refused_with_a_suggestion(
    environment: pytest.MonkeyPatch, name: str, nearest: str
) -> None:
    environment.setenv(name, "x")
    with pytest.raises(InputError, match=f"unknown environment variable {name!r}; did you mean {nearest!r}"):
        settings_from_env()


def test_the_names_of_the_variables_are_known_without_the_libraries_of_the_service() -> None:
    """A client with FACTCENSUS_API_KEY needs no web framework."""
    check = "import sys, factcensus.api.settings as s; s.variable_names(); sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
