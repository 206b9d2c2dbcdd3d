"""Serve a saved or exported model over HTTP, as an example to start from: it is no part of the package.

    pip install 'eat-transformers[serve]'
    python examples/serve.py runs/sst2/.../model --port 8000
    curl localhost:8000/predict -H 'content-type: application/json' -d '{"texts": ["a gripping, funny film"]}'

Texts that come in together are answered in one packed call, without padding. A certified model is watched: once its
traffic has drifted it is answered at full depth, and ``/health`` and ``/metrics`` say so.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, HTTPException, Response
from pydantic import BaseModel, Field

from eat.deployment.prediction.engines import load_engine
from eat.deployment.prediction.settings import PredictSettings
from eat.deployment.prediction.torch_engine import TorchEngine
from eat.deployment.runner import OnnxAnswer, answers_of
from eat.monitoring import DriftGuard

Answers = Callable[[Sequence[str]], Sequence[OnnxAnswer]]


class Request(BaseModel):
    """Texts to answer."""

    texts: list[str] = Field(min_length=1, max_length=1000)


class Batcher:
    """Dynamic batching: texts wait a little for others, and one batch runs at a time, in a thread of its own.

    Args:
        answer: Answers a batch of texts.
        batch_size: Texts in a call at most.
        wait_ms: How long the first text of a batch waits for others.
        max_waiting: Texts that may wait; more are refused.
    """

    def __init__(self, answer: Answers, batch_size: int, wait_ms: float, max_waiting: int) -> None:
        self.answer, self.batch_size, self.wait_s = answer, batch_size, wait_ms / 1000
        self.waiting: asyncio.Queue[tuple[str, asyncio.Future[OnnxAnswer]]] = asyncio.Queue(max_waiting)

    async def __call__(self, texts: Sequence[str]) -> list[OnnxAnswer]:
        """Return the answers, in the order of the texts; all are refused where some could not wait."""
        if self.waiting.qsize() + len(texts) > self.waiting.maxsize:
            raise HTTPException(503, "too many texts are waiting", headers={"Retry-After": "1"})
        futures = [asyncio.get_running_loop().create_future() for _ in texts]
        for waiting in zip(texts, futures, strict=True):
            self.waiting.put_nowait(waiting)
        return await asyncio.gather(*futures)

    async def run(self) -> None:
        """Answer batch after batch, until cancelled."""
        while True:
            batch = [await self.waiting.get()]
            if self.waiting.qsize() < self.batch_size - 1:
                await asyncio.sleep(self.wait_s)
            while len(batch) < self.batch_size and not self.waiting.empty():
                batch.append(self.waiting.get_nowait())
            texts, futures = zip(*batch, strict=True)
            try:
                answers = await asyncio.to_thread(self.answer, texts)
            except Exception as error:  # of one batch, which must not end the service
                for future in futures:
                    future.cancelled() or future.set_exception(error)
            else:
                for future, answer in zip(futures, answers, strict=True):
                    future.cancelled() or future.set_result(answer)  # who asked may have gone


def create_app(folder: str, *, batch_size: int = 32, wait_ms: float = 5.0, max_waiting: int = 1000) -> FastAPI:
    """Load a model and return the service around it; see `Batcher` for the options."""
    engine, guard = load_engine(folder, PredictSettings()), None
    if isinstance(engine, TorchEngine) and engine.model.config.certificate is not None:
        guard = DriftGuard(engine.model)
        engine = engine.answered_by(guard)

    def answer(texts: Sequence[str]) -> Sequence[OnnxAnswer]:
        output = engine.run_encoded(engine.encoder([(text,) for text in texts]))
        return answers_of(output, engine.labels, multi_label=engine.multi_label)

    batcher = Batcher(answer, batch_size, wait_ms, max_waiting)

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(batcher.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    app = FastAPI(title="eat", lifespan=running)

    @app.post("/predict")
    async def predict(request: Request) -> list[dict[str, Any]]:
        return [dataclasses.asdict(answer) for answer in await batcher(request.texts)]

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"labels": engine.labels, "drifted": None if guard is None else bool(guard.fired)}

    @app.get("/metrics")
    async def metrics() -> Response:
        if guard is None:
            raise HTTPException(404, "the model is not certified, so that nothing is watched")
        return Response(guard.prometheus(), media_type="text/plain; version=0.0.4")

    return app


if __name__ == "__main__":
    import uvicorn

    parser = argparse.ArgumentParser(description="Serve a saved or exported model over HTTP.")
    parser.add_argument("folder", help="the folder of a run, a saved model or an export")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--wait-ms", type=float, default=5.0)
    options = parser.parse_args()
    uvicorn.run(
        create_app(options.folder, batch_size=options.batch_size, wait_ms=options.wait_ms),
        host=options.host,
        port=options.port,
    )
