"""The examples run: a model served over HTTP."""

import asyncio
import importlib.util
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from transformers import AutoTokenizer

from eat.models.classifier import AdaptiveForSequenceClassification
from tests.deployment.predictions import alone, make_run, make_texts
from tests.made.guarded import certificate_for

pytest.importorskip("fastapi", reason="fastapi is not installed: pip install 'eat-transformers[serve]'")
from fastapi.testclient import TestClient

TEXTS = [text for text in make_texts(12) if text]


@pytest.fixture(scope="module")
def serve() -> ModuleType:
    spec = importlib.util.spec_from_file_location("serve", Path(__file__).parents[1] / "examples" / "serve.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("serve") / "run")


def test_texts_are_answered_as_each_alone_and_batches_as_they_come(serve: ModuleType, run: Path) -> None:
    expected = list(alone(run, TEXTS))
    with TestClient(serve.create_app(str(run), batch_size=5)) as client:
        answers = client.post("/predict", json={"texts": TEXTS}).json()
        assert [(one["label"], one["exit_depth"]) for one in answers] == [
            (label, depth) for label, _, depth, _ in expected
        ]
        assert [one["score"] for one in answers] == pytest.approx([score for _, score, *_ in expected], abs=1e-5)
        found: dict[int, Any] = {}

        def ask(place: int) -> None:
            found[place] = client.post("/predict", json={"texts": TEXTS[place : place + 1]}).json()[0]["label"]

        threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(TEXTS))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [found[place] for place in range(len(TEXTS))] == [label for label, *_ in expected]
        assert client.get("/health").json() == {"labels": ["LABEL_0", "LABEL_1"], "drifted": None}
        assert client.get("/metrics").status_code == 404
        for wrong in ({"texts": []}, {"texts": [3]}, {}):
            assert client.post("/predict", json=wrong).status_code == 422


def test_texts_that_come_in_together_share_a_call_and_too_many_are_refused(serve: ModuleType) -> None:
    sizes = []

    def answer(texts: Any) -> Any:
        sizes.append(len(texts))
        if "broken" in texts:
            raise RuntimeError("no answer")
        return [text.upper() for text in texts]

    async def talk() -> None:
        batcher = serve.Batcher(answer, batch_size=4, wait_ms=50, max_waiting=8)
        task = asyncio.create_task(batcher.run())
        assert await asyncio.gather(*(batcher([text]) for text in "abc")) == [["A"], ["B"], ["C"]]
        assert await batcher(list("abcdefg")) == list("ABCDEFG")
        with pytest.raises(RuntimeError, match="no answer"):
            await batcher(["broken"])
        with pytest.raises(serve.HTTPException) as refused:
            await batcher(list("abcdefghi"))
        assert refused.value.status_code == 503
        assert await batcher(["a"]) == ["A"], "it goes on after a batch without answers"
        task.cancel()

    asyncio.run(talk())
    assert sizes == [3, 4, 3, 1, 1]


def test_a_certified_model_is_watched(serve: ModuleType, run: Path, tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client")
    model = AdaptiveForSequenceClassification.from_pretrained(run / "model").eval()
    model.config.certificate = certificate_for(model)
    model.save_pretrained(tmp_path / "certified")
    AutoTokenizer.from_pretrained(run / "model").save_pretrained(tmp_path / "certified")
    with TestClient(serve.create_app(str(tmp_path / "certified"))) as client:
        assert client.get("/health").json()["drifted"] is False
        for number in range(10):
            client.post("/predict", json={"texts": [f"good film {'very ' * 25}{number}{i}" for i in range(40)]})
        assert client.get("/health").json()["drifted"] is True
        answers = client.post("/predict", json={"texts": TEXTS}).json()
        assert {one["exit_depth"] for one in answers} == {model.num_layers}
        assert "eat_" in client.get("/metrics").text
