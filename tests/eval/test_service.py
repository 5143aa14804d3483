from __future__ import annotations

import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from factcensus.eval.errors import EvaluationError
from factcensus.eval.service import serving
from factcensus.indexer import build_index


def test_service_answers_inside_the_context_and_is_stopped_afterwards(tmp_path: Path) -> None:
    from factcensus.api.client import Client

    (tmp_path / "corpus.jsonl").write_text(json.dumps({"text": "Ada was born in Rome."}) + "\n")
    build_index([tmp_path / "corpus.jsonl"], tmp_path / "tiny", jobs=1)

    def use_and_fail() -> None:
        with serving([tmp_path / "tiny"], tmp_path / "log") as url, Client(url) as client:
            addresses.append(url)
            assert client.count("tiny", "Rome").documents == 1
            raise KeyError

    addresses: list[str] = []
    with pytest.raises(KeyError):
        use_and_fail()
    with socket.socket() as connection:
        assert connection.connect_ex(("127.0.0.1", urlsplit(addresses[0]).port or 0)) != 0


def test_failed_start_of_the_service_has_its_reason(tmp_path: Path) -> None:
    with (
        pytest.raises(EvaluationError, match=r"did not start.*nowhere"),
        serving([tmp_path / "nowhere"], tmp_path / "log"),
    ):
        pass
