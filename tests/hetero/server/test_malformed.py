"""Bytes from the wire that are no request: the caller's fault, said as such, and the server lives on."""

from collections.abc import Callable

import grpc
import pytest

from hetero import InvalidRequestError
from hetero.client import Client
from hetero.server.server import Server

Call = Callable[[str, bytes], list[bytes]]


@pytest.fixture
def send(server: Server) -> Call:
    """Sends bytes as they are to a method of our service; gives the answers' bytes."""

    def call(method: str, data: bytes) -> list[bytes]:
        options = [("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(f"localhost:{server.port}", options) as channel:
            return list(channel.unary_stream(f"/hetero.v1.HeteroService/{method}")(data, timeout=20))

    return call


def text_field(data: bytes) -> bytes:
    """Field 1, length-delimited, of less than 128 bytes."""
    return bytes([0x0A, len(data)]) + data


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("Generate", text_field(b"caf\xe9")),
        ("Generate", text_field(b"\xff\xfe\x00")),
        ("Generate", text_field(b"\xed\xa0\x80")),
        ("Embed", text_field(b"ok") + text_field(b"\xc3")),
        ("Classify", text_field(b"\x80")),
    ],
    ids=["latin-1", "utf-16", "lone surrogate", "cut character", "stray byte"],
)
def test_invalid_utf8_is_the_callers_fault(send: Call, client: Client, method: str, data: bytes) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        send(method, data)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "UTF-8" in caught.value.details()
    assert client.is_serving()


@pytest.mark.parametrize("data", [b"\x0a\x7fshort", b"\xff\xff\xff", b"\x07"], ids=["cut", "no tag", "no wire type"])
def test_bytes_that_are_no_message_are_the_callers_fault(send: Call, data: bytes) -> None:
    for method in ("Generate", "Embed", "GetPlan"):
        with pytest.raises(grpc.RpcError) as caught:
            send(method, data)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_valid_bytes_made_by_hand_are_answered(send: Call) -> None:
    assert b"".join(send("Generate", text_field("Žofie had".encode())))


def test_fields_of_a_newer_client_are_passed_over(send: Call) -> None:
    # Field 31: among the numbers that are kept, the last to be taken.
    assert send("Generate", text_field(b"Once") + b"\xfa\x01\x03abc")


def test_message_above_the_bound_is_refused(send: Call, client: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        send("Generate", b"\x0a" + b"\x80\x80\x80\x10" + b"a" * (32 * 2**20))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(InvalidRequestError, match="larger than max"):
        client.generate("a" * (17 * 2**20))


def test_text_that_has_no_utf8_is_refused_before_it_is_sent(client: Client) -> None:
    with pytest.raises(InvalidRequestError, match="prompt"):
        client.generate("\ud800")
    with pytest.raises(InvalidRequestError, match="texts"):
        client.embed(["\ud800"])


@pytest.mark.parametrize("prompt", [["a", "b"], [1.5], [-1], [2**40], [{"role": "user"}], [{"who": "me"}], 7, None])
def test_prompt_of_another_kind_is_refused(client: Client, prompt: object) -> None:
    with pytest.raises(InvalidRequestError):
        client.generate(prompt)


@pytest.mark.parametrize("texts", ["abc", None, 5, [b"a"]])
def test_texts_of_another_kind_are_refused_before_they_are_sent(client: Client, texts: object) -> None:
    for call in (client.embed, client.classify):
        with pytest.raises(InvalidRequestError, match="list of strings"):
            call(texts)


def test_options_of_another_kind_are_refused(client: Client) -> None:
    for name, value in (("timeout", "soon"), ("adaptive", "verify"), ("sampling", {"max_tokens": 3})):
        with pytest.raises(InvalidRequestError, match=f"^{name} is "):
            client.generate("Once", **{name: value})


def test_unknown_method_is_unimplemented(send: Call) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        send("Train", b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
