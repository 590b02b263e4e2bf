"""Encrypted models over a real channel, from real keys to decrypted results, and everything that is refused."""

from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from types import ModuleType

import grpc
import numpy as np
import pytest

from hetero.client import connect
from hetero.client_encrypted import EncryptedClient, EncryptedModel
from hetero.errors import AuthenticationError, UnavailableError
from hetero.runtime import Runtime
from hetero.server.encrypted_server import EncryptedServer
from hetero.server.encrypted_service import Encrypted
from hetero.server.server import Server
from hetero.server.settings import ServerSettings
from hetero.v1 import encrypted_pb2 as wire
from hetero.v1.encrypted_pb2_grpc import EncryptedServiceStub
from privacy.errors import BudgetExhaustedError, EncryptionError
from privacy.he.activation import activation_named
from privacy.he.gateway import Gateway, GatewaySettings
from privacy.he.keys import KeyBundle, SecretKeys
from privacy.he.parameters import named_parameters
from privacy.he.spec import Kind, ModelSpec, head_spec, linear_spec

GENERATOR = np.random.default_rng(0)
HEAD = linear_spec("head", GENERATOR.normal(size=(2, 64)), kind=Kind.CLASSIFY, labels=["no", "yes"])
INDEX = linear_spec("index", GENERATOR.normal(size=(2500, 16)), kind=Kind.SEARCH, labels=[f"d{i}" for i in range(2500)])
MLP = head_spec(
    "mlp",
    [(GENERATOR.normal(0, 0.2, (8, 16)), None), (GENERATOR.normal(size=(3, 8)), None)],
    [activation_named("gelu")],
)
LAYER = linear_spec("layer", GENERATOR.normal(size=(24, 40)), GENERATOR.normal(size=24))
SPECS = (HEAD, INDEX, MLP, LAYER)
OPEN = GatewaySettings(queries_per_epoch=0, ciphertexts_per_second=0, uploads_per_second=0)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with closing(Gateway(SPECS, OPEN)) as made:
        yield made


@pytest.fixture(scope="module")
def encrypted_server(gateway: Gateway) -> Iterator[EncryptedServer]:
    with EncryptedServer(ServerSettings(port=0, drain_seconds=1), Encrypted(gateway, {"head": 0.5})) as made:
        yield made


@pytest.fixture(scope="module")
def remote(encrypted_server: EncryptedServer) -> Iterator[EncryptedClient]:
    with EncryptedClient(f"localhost:{encrypted_server.port}", timeout=60) as made:
        yield made


@pytest.fixture(scope="module")
def stub(encrypted_server: EncryptedServer) -> Iterator[EncryptedServiceStub]:
    with grpc.insecure_channel(f"localhost:{encrypted_server.port}") as channel:
        yield EncryptedServiceStub(channel)


@pytest.fixture(scope="module")
def head(remote: EncryptedClient) -> EncryptedModel:
    made = remote.model("head")
    made.prepare()
    return made


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_results_are_those_of_the_weights(spec: ModelSpec, remote: EncryptedClient) -> None:
    vectors = np.random.default_rng(1).normal(size=(5, spec.columns)) / 8
    model = remote.model(spec.name)
    assert abs(model(vectors) - spec.in_the_clear(vectors)).max() < 1e-4
    assert model.description.labels == spec.labels


def test_models_are_described_without_weights(remote: EncryptedClient, stub: EncryptedServiceStub) -> None:
    listed = {model.name: model for model in remote.models()}
    assert {name: model.kind for name, model in listed.items()} == {spec.name: spec.kind for spec in SPECS}
    assert "not protected" in listed["head"].statement
    told = {model.name: model for model in stub.ListEncryptedModels(wire.ListEncryptedModelsRequest()).models}
    assert told["head"].seconds_per_ciphertext == 0.5 and not told["layer"].HasField("seconds_per_ciphertext")
    assert len(told["index"].SerializeToString()) < 2000


def test_one_model_of_a_kind_needs_no_name(remote: EncryptedClient) -> None:
    assert remote.model(kind=Kind.SEARCH).description.name == "index"
    with pytest.raises(EncryptionError, match="2 such encrypted models"):
        remote.model(kind=Kind.CLASSIFY)


def test_keys_are_sent_once_and_shared(remote: EncryptedClient, head: EncryptedModel) -> None:
    keys = SecretKeys(named_parameters("ckks-8192-1"))
    again = EncryptedModel(remote, head.description, keys)
    sent = again.prepare()
    assert again.prepare() is sent
    assert EncryptedModel(remote, head.description, keys).keys is keys


def header(head: EncryptedModel, **changes: object) -> wire.EncryptedRequest:
    values = {"model": "head", "keys": head.prepare().digest, "digest": head.description.digest, "ciphertexts": 1}
    return wire.EncryptedRequest(header=wire.EncryptedHeader(**(values | changes)))  # type: ignore[arg-type]


def refused(call: object) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        list(call)  # type: ignore[call-overload]
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert ("hetero-error", "EncryptionError") in caught.value.trailing_metadata()
    return str(caught.value.details())


def test_streams_that_are_wrong_are_refused(head: EncryptedModel, stub: EncryptedServiceStub) -> None:
    sealed = wire.EncryptedRequest(ciphertext=head.seal(np.ones((1, 64)) / 64)[0])
    begins = header(head)
    cases = [
        ([], "begin with a header"),
        ([sealed], "begin with a header"),
        ([begins, begins], "as many ciphertexts as it says"),
        ([begins, sealed, sealed], "as many ciphertexts as it says"),
        ([begins, wire.EncryptedRequest()], "as many ciphertexts as it says"),
        ([begins, wire.EncryptedRequest(ciphertext=b"nonsense")], "no ciphertext as SEAL"),
        ([begins, wire.EncryptedRequest(ciphertext=bytes(10**6))], "no ciphertext as SEAL"),
        ([header(head, digest="0" * 64), sealed], "other weights"),
        ([header(head, model="tail"), sealed], "no encrypted model of that name"),
        ([header(head, model="index"), sealed], "ask for that"),
        ([header(head, keys="0" * 64), sealed], "does not have these keys"),
        ([header(head, keys="../keys"), sealed], "SHA-256"),
        ([header(head, ciphertexts=0)], "1 to"),
    ]
    for messages, sentence in cases:
        assert sentence in refused(stub.ClassifyEncrypted(iter(messages)))


def test_uploads_that_are_wrong_are_refused(head: EncryptedModel, stub: EncryptedServiceStub) -> None:
    bundle = head.prepare()

    def upload(given: KeyBundle, data: bytes, **changes: object) -> str:
        sizes = {"context_bytes": len(given.context), "galois_bytes": len(given.galois)}
        values = {"parameters": given.parameter_name, "digest": given.digest} | sizes | changes
        first = wire.UploadKeysRequest(header=wire.KeysHeader(**values))  # type: ignore[arg-type]
        chunks = [wire.UploadKeysRequest(chunk=data[at : at + 10**6]) for at in range(0, len(data), 10**6)]
        with pytest.raises(grpc.RpcError) as caught:
            stub.UploadKeys(iter([first, *chunks]))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        return str(caught.value.details())

    data = bundle.context + bundle.galois
    assert "before all bytes" in upload(bundle, data[:-1])
    assert "more bytes came" in upload(bundle, data + b"x")
    assert "SHA-256" in upload(bundle, data, digest="f" * 64)
    assert "larger than an upload" in upload(bundle, b"", galois_bytes=1 << 40)
    assert "no parameter set of that name" in upload(bundle, data, parameters="ckks-1024")
    swapped = replace(bundle, context=bundle.galois[: len(bundle.context)])
    assert "no TenSEAL context" in upload(swapped, swapped.context + swapped.galois)


def test_what_is_no_message_is_refused(encrypted_server: EncryptedServer) -> None:
    with grpc.insecure_channel(f"localhost:{encrypted_server.port}") as channel:
        call = channel.stream_stream("/hetero.v1.EncryptedService/ClassifyEncrypted")
        with pytest.raises(grpc.RpcError) as caught:
            list(call(iter([b"\xff\xff\xff"])))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_result_says_nothing_by_its_size_or_number(head: EncryptedModel, remote: EncryptedClient) -> None:
    """A confident input, a doubtful one, zeros and the longest: the answers weigh the same."""
    weight = HEAD.layers[0].weight
    kinds = [weight[0], weight[0] - weight[1], np.zeros(64), np.full(64, head.description.norm_bound / 9)]
    sizes = set()
    for vector in kinds:
        sealed = head.seal(vector[None, :])
        (answers,) = remote.send(head.description, head.prepare().digest, sealed)
        sizes.add(tuple(len(answer) for answer in answers))
    assert len(sizes) == 1


def test_an_answer_that_cannot_be_decrypted_looks_like_any_other_to_the_server(
    head: EncryptedModel,
    encrypted_server: EncryptedServer,
    recording_door: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client fails by itself: no retry, no word, and as many bytes leave as where it succeeds."""
    with (
        recording_door.Door(encrypted_server.port) as door,
        EncryptedClient(f"localhost:{door.port}", timeout=60) as client,
    ):
        model = EncryptedModel(client, head.description, head.keys)
        vectors = np.ones((1, 64)) / 64
        model(vectors)
        lengths = []
        for fails in (False, True):
            before = len(door.sent)
            with monkeypatch.context() as patch:
                patch.setattr(SecretKeys, "decrypt", _unreadable) if fails else None
                with pytest.raises(EncryptionError) if fails else nullcontext():
                    model(vectors)
            lengths.append(len(door.sent) - before)
        # Ciphertexts are compressed, so the lengths of two of equal vectors differ by chance, by a few hundredths.
        assert lengths[0] == pytest.approx(lengths[1], rel=0.08) and lengths[0] > 100_000


def _unreadable(keys: SecretKeys, blob: bytes) -> np.ndarray:
    raise EncryptionError("the answer cannot be decrypted")


def test_caps_and_rates_hold_over_the_wire() -> None:
    capped = GatewaySettings(queries_per_epoch=8, ciphertexts_per_second=0)
    with (
        closing(Gateway([HEAD], capped)) as gateway,
        EncryptedServer(ServerSettings(port=0), Encrypted(gateway)) as server,
        EncryptedClient(f"localhost:{server.port}") as client,
    ):
        model = client.model("head")
        room = model.description.vectors
        assert model.description.queries_per_epoch == 8 and "would recover" in model.description.statement
        with pytest.raises(BudgetExhaustedError, match="cap of 8"):
            model(np.ones((room * (8 // room + 1), 64)) / 64)


def test_a_token_is_asked_for(gateway: Gateway) -> None:
    with EncryptedServer(ServerSettings(port=0, token="t"), Encrypted(gateway)) as server:
        address = f"localhost:{server.port}"
        with EncryptedClient(address) as stranger, pytest.raises(AuthenticationError):
            stranger.models()
        with EncryptedClient(address, token="t") as client:
            assert len(client.models()) == len(SPECS)


def test_nobody_there_is_said_so() -> None:
    with EncryptedClient("localhost:1", timeout=5) as client, pytest.raises(UnavailableError):
        client.models()


def test_one_server_has_a_runtime_and_encrypted_models(runtime: Runtime, gateway: Gateway) -> None:
    with Server(ServerSettings(port=0), encrypted=Encrypted(gateway)) as server:
        server.attach(runtime)
        address = f"localhost:{server.port}"
        with connect(address) as plain, EncryptedClient(address) as private:
            assert plain.generate("Once", max_tokens=2).token_ids
            vectors = np.ones((1, 40)) / 40
            assert abs(private.model("layer")(vectors) - LAYER.in_the_clear(vectors)).max() < 1e-4
