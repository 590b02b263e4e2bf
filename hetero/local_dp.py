"""Local differential privacy on the client: embed here, noise here, and send what the server may have.

    with hetero.Runtime("all-MiniLM-L6-v2") as runtime, hetero.connect("server:50051", ...) as client:
        private = LocalClassifier(client, runtime, load_head(Path("head")), mechanism)
        print(private.classify(["a text that stays here"]))

Knows a runtime, a head's projection and a client; the noise is `privacy.local`'s. The mechanism is the user's own
statement: a server is never asked how much noise would do.
"""

from collections.abc import Sequence
from typing import Protocol

from hetero.batch import FloatArray
from hetero.errors import InvalidRequestError
from hetero.heads import Head
from hetero.types import ClassScores
from privacy.local import protect_with, vector_mechanism
from privacy.types import MechanismSpec


class Embedder(Protocol):
    """What is needed of a `Runtime`."""

    def embed(self, texts: Sequence[str]) -> FloatArray: ...


class VectorClient(Protocol):
    """What is needed of a `Client`."""

    def classify_vectors(
        self, rows: FloatArray, *, head: str = "", mechanism: MechanismSpec | None = None
    ) -> list[ClassScores]: ...


class LocalClassifier:
    """Classifies texts by a server's head, to which noised vectors alone go.

    `head` is the client's own copy where the head has a projection, else None. Raises MechanismError for a mechanism
    that does not noise vectors.
    """

    def __init__(
        self,
        client: VectorClient,
        runtime: Embedder,
        mechanism: MechanismSpec,
        head: Head | None = None,
        head_name: str = "",
    ) -> None:
        self._client, self._runtime, self._spec = client, runtime, mechanism
        self._mechanism = vector_mechanism(mechanism)
        self._head, self._head_name = head, head_name

    def classify(self, texts: Sequence[str]) -> list[ClassScores]:
        """Each text's probabilities over the head's labels; every call draws new noise, and is charged.

        Raises what embedding and the server raise.
        """
        return self._client.classify_vectors(self.noised(texts), head=self._head_name, mechanism=self._spec)

    def noised(self, texts: Sequence[str]) -> FloatArray:
        """What would be sent for the texts, float32 [N, D]: clipped, on the grid, with fresh noise."""
        if isinstance(texts, str):
            raise InvalidRequestError("the texts must be a list of strings")
        vectors = self._runtime.embed(texts)
        rows = self._head.project(vectors) if self._head else vectors
        noised: FloatArray = protect_with(self._mechanism, rows).rows.astype("float32")
        return noised
