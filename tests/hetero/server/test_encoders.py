"""Embedding and classification over a real channel."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hetero import InvalidRequestError, Runtime, connect
from hetero.client import Client
from hetero.encoding import Vectors
from hetero.server.server import Server
from hetero.server.servicer import submitted
from hetero.server.settings import ServerSettings

TEXTS = ["A cat sat on the mat.", "Gradient descent", "", "the same text " * 40]


@pytest.fixture(scope="module")
def serve_model() -> Iterator[Callable[[Path], Client]]:
    """A client of a server of its own for the model in a folder."""
    opened: list[Runtime | Server | Client] = []

    def start(folder: Path) -> Client:
        runtime = Runtime(str(folder), precision="fp32", in_process=True, threads=1)
        opened.append(runtime)
        server = Server(ServerSettings(port=0))
        opened.append(server)
        server.attach(runtime)
        client = connect(f"localhost:{server.port}")
        opened.append(client)
        return client

    yield start
    for part in reversed(opened):
        part.close()


@pytest.fixture(scope="module")
def embedder(serve_model: Callable[[Path], Client], minilm: Path) -> Client:
    return serve_model(minilm)


@pytest.fixture(scope="module")
def classifier_folder(checkpoint: Callable[..., Path]) -> Path:
    return checkpoint("bert-classifier")


@pytest.fixture(scope="module")
def classifier(serve_model: Callable[[Path], Client], classifier_folder: Path) -> Client:
    return serve_model(classifier_folder)


def test_embeddings_equal_those_of_sentence_transformers(embedder: Client, minilm: Path) -> None:
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(minilm), device="cpu").encode(TEXTS)
    got = embedder.embed(TEXTS)
    assert got.dtype == np.float32 and got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_class_probabilities_equal_those_of_transformers(classifier: Client, classifier_folder: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(classifier_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(classifier_folder)
    with torch.no_grad():
        logits = [model(**tokenizer(text, return_tensors="pt")).logits[0] for text in TEXTS[:2]]
    scored = classifier.classify(TEXTS[:2])
    assert [scores.labels for scores in scored] == [("bad", "fair", "good")] * 2
    for scores, row in zip(scored, logits, strict=True):
        assert scores.probabilities == pytest.approx(row.softmax(0).tolist(), abs=1e-5)
        assert scores.label == scores.labels[int(row.argmax())]


def test_encoder_does_not_generate(embedder: Client) -> None:
    with pytest.raises(InvalidRequestError, match="does not generate"):
        embedder.generate("Once")


def test_embedder_does_not_classify_and_classifier_does_not_embed(embedder: Client, classifier: Client) -> None:
    with pytest.raises(InvalidRequestError, match="no classification head"):
        embedder.classify(["a"])
    with pytest.raises(InvalidRequestError, match="classify with it"):
        classifier.embed(["a"])


def test_no_texts_or_too_many_are_refused(embedder: Client) -> None:
    for texts in ([], ["a"] * 2049):
        with pytest.raises(InvalidRequestError, match="takes from 1 to 2048"):
            embedder.embed(texts)


def test_models_describe_themselves(embedder: Client, classifier: Client) -> None:
    assert (embedder.info.kind, embedder.info.labels) == ("encoder", ())
    assert classifier.info.labels == ("bad", "fair", "good")


async def test_texts_of_a_call_that_ended_while_they_were_tokenized_are_given_up() -> None:
    tokenized, vectors = threading.Event(), Vectors()

    def submit() -> Vectors:
        tokenized.wait()
        return vectors

    call = asyncio.ensure_future(submitted(submit))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    tokenized.set()
    async with asyncio.timeout(10):
        while not vectors.cancelled():
            await asyncio.sleep(0.001)
