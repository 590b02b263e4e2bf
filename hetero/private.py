"""Private classification and private search: texts are encoded here, and only ciphertexts leave.

    with connect_private("localhost:50052") as client, hetero.Runtime(MINILM) as encoder:
        classifier = PrivateClassifier(client.model(kind="classify"), encoder.embed)
        print(classifier(["a gripping film"])[0].label)

Knows texts, labels and ranks. What is decrypted stays in these objects' answers: nothing here sends it anywhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hetero.batch import FloatArray
from hetero.client_encrypted import EncryptedClient, EncryptedModel
from hetero.server.tls import ClientTls
from hetero.types import ClassScores
from privacy.errors import EncryptionError
from privacy.he.packing import Floats
from privacy.he.spec import Kind

#: Texts to vectors, float [n, columns]: a Runtime's `embed`, for instance.
Embed = Callable[[Sequence[str]], FloatArray]


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that was found: its place in the index, its title, and the query's score with it."""

    index: int
    title: str
    score: float


class PrivateClassifier:
    """Labels of texts by a server's head that never sees them. Raises EncryptionError for a model of another kind."""

    def __init__(self, model: EncryptedModel, embed: Embed) -> None:
        _require(model, Kind.CLASSIFY)
        self._model, self._embed = model, embed
        rows = model.description.given.rows
        self.labels = model.description.labels or tuple(str(number) for number in range(rows))

    def scores(self, texts: Sequence[str]) -> Floats:
        """The head's outputs before any softmax, float64 [n, classes]."""
        return self._model(self._embed(list(texts)))

    def __call__(self, texts: Sequence[str]) -> list[ClassScores]:
        """Each text's probabilities over the labels; the softmax is taken here."""
        scores = self.scores(texts)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares = powers / powers.sum(axis=1, keepdims=True)
        return [ClassScores(self.labels, tuple(row.tolist())) for row in shares]


class PrivateSearch:
    """The documents nearest to a query, which the server scores without seeing it.

    All scores come back and the best are picked here: asking for the best ones only would tell which they are.
    """

    def __init__(self, model: EncryptedModel, embed: Embed) -> None:
        _require(model, Kind.SEARCH)
        self._model, self._embed = model, embed

    def scores(self, queries: Sequence[str]) -> Floats:
        """Each query's score with every document, float64 [n, documents]."""
        return self._model(self._embed(list(queries)))

    def __call__(self, queries: Sequence[str], top: int = 5) -> list[list[Hit]]:
        """The best `top` documents of each query, the best first."""
        titles = self._model.description.labels
        found = []
        for row in self.scores(queries):
            best = np.argsort(-row, kind="stable")[:top]
            found.append([Hit(int(at), titles[at] if titles else str(at), float(row[at])) for at in best])
        return found


def connect_private(
    address: str,
    *,
    tls: ClientTls | bool | None = None,
    token: str | None = None,
    api_key: str | None = None,
    timeout: float | None = None,
) -> EncryptedClient:
    """A client of the encrypted models at `address` (HOST:PORT), after one exchange that shows that they are there.

    Raises UnavailableError where nobody answers.
    """
    client = EncryptedClient(address, tls=tls, token=token, api_key=api_key, timeout=timeout)
    try:
        client.models()
    except BaseException:
        client.close()
        raise
    return client


def _require(model: EncryptedModel, kind: Kind) -> None:
    if model.description.kind is not kind:
        raise EncryptionError(
            f"{model.description.name} is a model to {model.description.kind.value}, not {kind.value}"
        )
