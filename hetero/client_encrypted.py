"""A client of encrypted models: keys stay here, ciphertexts go, answers are decrypted here. Plain blocking calls.

Knows the wire and `privacy.he`; the encoder that makes vectors of texts is the caller's (`private.py`). Nothing that
depends on a decrypted value is ever sent: not an error, not another request, not a choice of rows.
"""

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, NoReturn, TypeVar, cast

import grpc
import numpy as np
from numpy.typing import ArrayLike

from hetero.client_channel import credentials_of, open_channel
from hetero.client_receipts import RECEIPT_KEY, Receipts
from hetero.errors import UnavailableError
from hetero.server.convert_encrypted import keys_header, model_from_wire
from hetero.server.status import ERROR_KEY, error_from
from hetero.server.tls import ClientTls
from hetero.v1 import encrypted_pb2 as wire
from hetero.v1.encrypted_pb2_grpc import EncryptedServiceStub
from privacy.errors import EncryptionError
from privacy.he.client import Sealer
from privacy.he.description import Description, checked
from privacy.he.keys import KeyBundle, SecretKeys
from privacy.he.packing import Floats
from privacy.he.spec import Kind

_CHUNK_BYTES = 512 * 1024
T = TypeVar("T")


class EncryptedClient:
    """One connection. `token` and `api_key` are credentials; `timeout` is each call's deadline in seconds.

    With `public_key` (32 bytes of Ed25519, the server's) every answer must come with its receipt.
    """

    def __init__(
        self,
        address: str,
        *,
        tls: ClientTls | bool | None = None,
        token: str | None = None,
        api_key: str | None = None,
        timeout: float | None = None,
        public_key: bytes | None = None,
    ) -> None:
        self.address, self.timeout = address, timeout
        self._receipts = Receipts(public_key)
        self._metadata = credentials_of(token, api_key)
        self._channel = open_channel(address, tls)
        self._stub = EncryptedServiceStub(self._channel)

    def models(self) -> tuple[Description, ...]:
        """What is served encrypted, without labels. Raises UnavailableError where nobody answers."""
        listed = self._ask(self._stub.ListEncryptedModels, wire.ListEncryptedModelsRequest())
        return tuple(checked(model_from_wire(each)) for each in listed.models)

    def model(self, name: str = "", kind: Kind | None = None) -> "EncryptedModel":
        """The model of a name, or the only one of a kind, with its labels and fresh keys.

        Raises EncryptionError where there is none, or several and no name.
        """
        listed = self._ask(self._stub.ListEncryptedModels, wire.ListEncryptedModelsRequest()).models
        found = [each for each in listed if name in ("", each.name) and kind in (None, each.kind)]
        if len(found) != 1:
            names = ", ".join(each.name for each in listed) or "none"
            raise EncryptionError(f"the server has {len(found)} such encrypted models; name one of: {names}")
        labels = tuple(self._labels(found[0].name)) if found[0].label_count else ()
        return EncryptedModel(self, model_from_wire(found[0], labels))

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> "EncryptedClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send_keys(self, bundle: KeyBundle) -> None:
        """Upload public keys, unless the server has them already."""
        if not self._ask(self._stub.FindKeys, wire.FindKeysRequest(digest=bundle.digest)).found:
            self._ask(self._stub.UploadKeys, _key_messages(bundle))

    def send(self, model: Description, keys: str, ciphertexts: list[bytes]) -> list[tuple[bytes, ...]]:
        """Answers to each ciphertext, in order."""
        methods = {Kind.CLASSIFY: self._stub.ClassifyEncrypted, Kind.SEARCH: self._stub.SearchEncrypted}
        method = methods.get(model.kind, self._stub.ApplyEncrypted)
        header = wire.EncryptedHeader(model=model.name, keys=keys, digest=model.digest, ciphertexts=len(ciphertexts))
        given = self._each(method, _messages(header, ciphertexts))
        answers = [self._answers(each) for each in given]
        if len(answers) != len(ciphertexts):
            raise UnavailableError(f"the server at {self.address} ended the stream before all answers had come")
        return answers

    @property
    def last_receipt(self) -> bytes | None:
        """The receipt of this thread's last answer to a ciphertext, as the server signed it; None without a policy."""
        return self._receipts.last

    def _answers(self, message: wire.EncryptedResponse) -> tuple[bytes, ...]:
        """The answers to one ciphertext. Raises AuditError where a key is known and the receipt is not theirs."""
        receipt = message.receipt
        message.ClearField("receipt")
        self._receipts.take(((RECEIPT_KEY, receipt),) if receipt else (), [message])
        return tuple(message.answers)

    def _labels(self, name: str) -> Iterator[str]:
        for message in self._each(self._stub.GetLabels, wire.GetLabelsRequest(model=name)):
            yield from message.labels

    def _ask(self, method: Callable[..., T], request: Any) -> T:
        try:
            return method(request, timeout=self.timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            self._fail(error)

    def _each(self, method: Callable[..., Iterable[T]], request: Any) -> Iterator[T]:
        try:
            yield from method(request, timeout=self.timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            self._fail(error)

    def _fail(self, error: grpc.RpcError) -> NoReturn:
        call = cast(grpc.Call, error)
        name = next((str(value) for key, value in call.trailing_metadata() or () if key == ERROR_KEY), None)
        message = call.details() or ""
        if name is None and call.code() is grpc.StatusCode.UNAVAILABLE:
            message = f"no server answers at {self.address}; start one with `hetero private serve`"
        raise error_from(call.code(), message, name) from None


class EncryptedModel:
    """One encrypted model of a server under keys of ours, which are made at once and sent with the first vectors."""

    def __init__(self, client: EncryptedClient, description: Description, keys: SecretKeys | None = None) -> None:
        self.description = description
        self._client = client
        self._sealer = Sealer(description, keys)
        self._bundle: KeyBundle | None = None

    @property
    def keys(self) -> SecretKeys:
        """The keys, to be shared with another model of the same parameter set."""
        return self._sealer.keys

    def prepare(self) -> KeyBundle:
        """Make and send the public keys, once; gives what was sent."""
        if self._bundle is None:
            bundle = self._sealer.bundle()
            self._client.send_keys(bundle)
            self._bundle = bundle
        return self._bundle

    def seal(self, vectors: ArrayLike) -> list[bytes]:
        """Ciphertexts of float [n, columns]. Raises EncryptionError where a vector is not finite or too long."""
        return self._sealer.seal(np.asarray(vectors, np.float64))

    def __call__(self, vectors: ArrayLike) -> Floats:
        """The model's results for float [n, columns], decrypted: float64 [n, rows].

        Raises EncryptionError where a vector is not finite or too long, before anything is sent; what the server
        refuses with, BudgetExhaustedError and DeniedError among it.
        """
        rows = np.asarray(vectors, np.float64)
        sealed = self._sealer.seal(rows)
        answers = self._client.send(self.description, self.prepare().digest, sealed)
        return self._sealer.open(answers, len(rows))


def _messages(header: wire.EncryptedHeader, ciphertexts: list[bytes]) -> Iterator[wire.EncryptedRequest]:
    yield wire.EncryptedRequest(header=header)
    for ciphertext in ciphertexts:
        yield wire.EncryptedRequest(ciphertext=ciphertext)


def _key_messages(bundle: KeyBundle) -> Iterator[wire.UploadKeysRequest]:
    yield wire.UploadKeysRequest(header=keys_header(bundle))
    data = bundle.context + bundle.galois + bundle.relinearisation
    for at in range(0, len(data), _CHUNK_BYTES):
        yield wire.UploadKeysRequest(chunk=data[at : at + _CHUNK_BYTES])
