"""Private classification and search of real texts: a real encoder here, a real server that sees ciphertexts."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from hetero import Runtime
from hetero.batch import FloatArray
from hetero.client_encrypted import EncryptedClient
from hetero.encrypted_models import documents, layer_of_checkpoint, read_encrypted
from hetero.errors import InvalidRequestError, ModelError
from hetero.private import PrivateClassifier, PrivateSearch, connect_private
from hetero.server.encrypted_server import EncryptedServer
from hetero.server.encrypted_service import Encrypted
from hetero.server.settings import ServerSettings
from privacy.errors import EncryptionError
from privacy.he.gateway import Gateway, GatewaySettings
from privacy.he.spec import Kind, ModelSpec, linear_spec

GOOD = ["a gripping, moving film", "one of the best of the year", "warm, funny and wise", "a joy from start to end"]
BAD = ["a dull and lifeless mess", "two hours of boredom", "badly acted and badly written", "a waste of good actors"]
TITLES = [
    "How to bake sourdough bread at home",
    "Repairing a punctured bicycle tyre",
    "The history of the Roman aqueducts",
    "Growing tomatoes on a balcony",
    "Tuning a guitar by ear",
    "First aid for burns and scalds",
]


@pytest.fixture(scope="module")
def encoder(minilm: Path) -> Iterator[Runtime]:
    with Runtime(str(minilm), precision="fp32", in_process=True, threads=1) as made:
        yield made


@pytest.fixture(scope="module")
def sentiment(encoder: Runtime) -> ModelSpec:
    """A linear head by least squares: enough for eight sentences."""
    vectors = np.hstack([encoder.embed(GOOD + BAD), np.ones((8, 1))])
    wanted = np.array([[-1.0, 1.0]] * 4 + [[1.0, -1.0]] * 4)
    solved = np.linalg.lstsq(vectors, wanted, rcond=None)[0]
    return linear_spec("sentiment", solved[:-1].T, solved[-1], kind=Kind.CLASSIFY, labels=["bad", "good"])


@pytest.fixture(scope="module")
def private(encoder: Runtime, sentiment: ModelSpec) -> Iterator[EncryptedClient]:
    specs = [sentiment, documents("library", TITLES, encoder.embed(TITLES))]
    with (
        closing(Gateway(specs, GatewaySettings(queries_per_epoch=0))) as gateway,
        EncryptedServer(ServerSettings(port=0), Encrypted(gateway)) as server,
        connect_private(f"localhost:{server.port}") as client,
    ):
        yield client


def test_labels_are_the_plain_ones(private: EncryptedClient, encoder: Runtime, sentiment: ModelSpec) -> None:
    classifier = PrivateClassifier(private.model("sentiment"), encoder.embed)
    texts = [*GOOD, *BAD, "an unforgettable evening", "I left before the end"]
    plain = sentiment.in_the_clear(np.asarray(encoder.embed(texts), np.float64))
    scored = classifier(texts)
    assert [scores.label for scores in scored] == [("bad", "good")[row.argmax()] for row in plain]
    assert [scores.label for scores in scored[:8]] == ["good"] * 4 + ["bad"] * 4
    assert all(sum(scores.probabilities) == pytest.approx(1) for scores in scored)
    assert abs(classifier.scores(texts) - plain).max() < 1e-4


def test_the_nearest_documents_are_the_plain_ones(private: EncryptedClient, encoder: Runtime) -> None:
    search = PrivateSearch(private.model("library"), encoder.embed)
    queries = ["my bike has a flat", "what did Romans build to carry water", "I touched a hot pan"]
    found = search(queries, top=2)
    assert [hits[0].title for hits in found] == [TITLES[1], TITLES[2], TITLES[5]]
    plain: FloatArray = encoder.embed(queries) @ encoder.embed(TITLES).T
    for row, hits in zip(plain, found, strict=True):
        assert [hit.index for hit in hits] == np.argsort(-row)[:2].tolist()
        assert hits[0].score == pytest.approx(float(row.max()), abs=1e-4)


def test_a_model_of_another_kind_is_refused(private: EncryptedClient, encoder: Runtime) -> None:
    with pytest.raises(EncryptionError, match="not search"):
        PrivateSearch(private.model("sentiment"), encoder.embed)


def test_an_index_needs_a_title_for_each_document() -> None:
    with pytest.raises(InvalidRequestError, match="one title for each"):
        documents("x", ["a"], np.ones((2, 4), np.float32))


def test_a_layer_of_a_checkpoint_is_served_by_its_name(minilm: Path, encoder: Runtime) -> None:
    spec = layer_of_checkpoint(minilm, "pooler.dense")
    assert (spec.rows, spec.columns, spec.kind) == (384, 384, Kind.LAYER)
    with pytest.raises(ModelError, match="no linear layer"):
        layer_of_checkpoint(minilm, "embeddings.LayerNorm")


def test_a_folder_without_a_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        read_encrypted(tmp_path)
    with pytest.raises(EncryptionError):
        read_encrypted(tmp_path / "missing.safetensors")
