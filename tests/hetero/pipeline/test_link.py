"""Links: whom they let in, what they leave on disk, what they carry, how they end."""

import socket
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import zmq

from hetero import wire
from hetero.errors import ConfigurationError
from hetero.pipeline.base import Control, Hidden, Message
from hetero.pipeline.link import Inbound, LinkClosedError, LinkKeys, Outbound, open_inbound, open_outbound, read
from hetero.pipeline.link_curve import make_keys
from hetero.pipeline.link_unix import PREFIX

HOST = "127.0.0.1"
PATIENCE_SECONDS = 5.0
REFUSAL_SECONDS = 0.6
WORD = Control("probe", 3)


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=["unix", "curve"])
def ends(request: pytest.FixtureRequest, undo: ExitStack) -> tuple[Inbound, Outbound]:
    """Both ends of a link of each kind."""
    keys = make_keys() if request.param == "curve" else None
    inbound = undo.enter_context(closing(open_inbound(HOST, keys)))
    return inbound, undo.enter_context(closing(open_outbound(inbound.address, keys)))


def next_message(inbound: Inbound, patience_seconds: float = PATIENCE_SECONDS) -> Message | None:
    frames = inbound.poll(patience_seconds)
    return read(frames) if frames else None


def arrives(inbound: Inbound, keys: LinkKeys | None, patience_seconds: float) -> bool:
    with closing(open_outbound(inbound.address, keys)) as outbound:
        outbound.send(wire.encode(WORD))
        return next_message(inbound, patience_seconds) == WORD


def test_messages_of_all_sizes_arrive_in_order(ends: tuple[Inbound, Outbound]) -> None:
    """Also while nobody reads: sending does not wait, however much more than the kernel's buffer it is."""
    inbound, outbound = ends
    rows = [1, 400_000, 0, 1, 900_000, 3]
    for number, count in enumerate(rows):
        outbound.send(wire.encode(Hidden(number, np.full((count, 2), number, np.float32), b"")))
    for number, count in enumerate(rows):
        found = next_message(inbound)
        assert isinstance(found, Hidden) and found.batch_id == number
        np.testing.assert_array_equal(found.numbers, np.full((count, 2), number, np.float32))
    assert next_message(inbound, 0.01) is None


def test_sent_numbers_may_be_overwritten_at_once(ends: tuple[Inbound, Outbound]) -> None:
    inbound, outbound = ends
    numbers = np.ones((300_000, 2), np.float32)
    outbound.send(wire.encode(Hidden(1, numbers, b"")))
    numbers[:] = 7
    found = next_message(inbound)
    assert isinstance(found, Hidden) and found.numbers.min() == found.numbers.max() == 1


def test_received_numbers_are_the_receivers_own(ends: tuple[Inbound, Outbound]) -> None:
    inbound, outbound = ends
    for number in range(2):
        outbound.send(wire.encode(Hidden(number, np.full((1, 3), number, np.float32), b"")))
    first, second = next_message(inbound), next_message(inbound)
    assert isinstance(first, Hidden) and isinstance(second, Hidden)
    assert first.numbers.flags.aligned and first.numbers.flags.writeable
    assert (first.numbers == 0).all() and (second.numbers == 1).all()


def test_unix_link_is_for_this_user_alone_and_hides_once_it_is_connected(undo: ExitStack) -> None:
    inbound = undo.enter_context(closing(open_inbound(HOST, None)))
    folder = Path(inbound.address).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    outbound = undo.enter_context(closing(open_outbound(inbound.address, None)))
    outbound.send(wire.encode(WORD))
    assert next_message(inbound) == WORD
    assert not folder.exists()
    outbound.send(wire.encode(WORD))
    assert next_message(inbound) == WORD


def test_unix_link_that_nobody_used_leaves_nothing() -> None:
    inbound = open_inbound(HOST, None)
    assert inbound.poll(0.01) is None
    inbound.close()
    assert not Path(inbound.address).parent.exists()
    with pytest.raises(ConfigurationError, match="cannot reach the next one"):
        open_outbound(inbound.address, None)


def test_unix_socket_has_a_short_name_wherever_temporary_files_go(
    undo: ExitStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    inbound = undo.enter_context(closing(open_inbound(HOST, None)))
    assert arrives(inbound, None, PATIENCE_SECONDS)


def test_unix_link_tells_when_the_other_end_is_gone(undo: ExitStack) -> None:
    inbound = undo.enter_context(closing(open_inbound(HOST, None)))
    outbound = open_outbound(inbound.address, None)
    outbound.send(wire.encode(WORD))
    outbound.close()
    assert next_message(inbound) == WORD
    with pytest.raises(LinkClosedError):
        inbound.poll(PATIENCE_SECONDS)


@pytest.mark.parametrize("count", [1, 400_000])
def test_sending_to_a_receiver_that_is_gone_is_told(undo: ExitStack, count: int) -> None:
    inbound = open_inbound(HOST, None)
    outbound = undo.enter_context(closing(open_outbound(inbound.address, None)))
    outbound.send(wire.encode(WORD))
    assert next_message(inbound) == WORD
    inbound.close()
    deadline = time.monotonic() + PATIENCE_SECONDS
    with pytest.raises(LinkClosedError):
        while time.monotonic() < deadline:
            outbound.send(wire.encode(Hidden(1, np.ones((count, 2), np.float32), b"")))


def test_curve_link_takes_the_one_known_key_and_refuses_everyone_else(undo: ExitStack) -> None:
    keys, stranger = make_keys(), make_keys()
    inbound = undo.enter_context(closing(open_inbound(HOST, keys)))
    assert inbound.address.startswith(f"tcp://{HOST}:")
    own_pair = replace(keys, client_public=stranger.client_public, client_secret=stranger.client_secret)
    other_server = replace(keys, server_public=stranger.server_public)
    for wrong in (stranger, own_pair, other_server):
        assert not arrives(inbound, wrong, REFUSAL_SECONDS)
    assert arrives(inbound, keys, PATIENCE_SECONDS)


def test_curve_link_refuses_a_peer_without_encryption(undo: ExitStack) -> None:
    inbound = undo.enter_context(closing(open_inbound(HOST, make_keys())))
    plain = undo.enter_context(zmq.Context()).socket(zmq.PUSH)
    plain.connect(inbound.address)
    with suppress(zmq.Again):  # it may have been shown the door already
        plain.send_multipart([bytes(frame) for frame in wire.encode(WORD)], zmq.NOBLOCK)
    assert inbound.poll(REFUSAL_SECONDS) is None
    plain.close(0)


class Relay:
    """A TCP relay to `target` that keeps a copy of all it carries."""

    def __init__(self, target: str) -> None:
        self.seen = bytearray()
        self._target = target.removeprefix("tcp://").split(":")
        self._listener = socket.create_server((HOST, 0))
        self.address = f"tcp://{HOST}:{self._listener.getsockname()[1]}"
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection((self._target[0], int(self._target[1])))
        for source, sink in ((near, far), (far, near)):
            Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(65536):
            self.seen += data
            sink.sendall(data)
        sink.close()

    def close(self) -> None:
        self._listener.close()


def test_curve_link_is_not_readable_on_the_wire(undo: ExitStack) -> None:
    keys = make_keys()
    inbound = undo.enter_context(closing(open_inbound(HOST, keys)))
    relay = undo.enter_context(closing(Relay(inbound.address)))
    outbound = undo.enter_context(closing(open_outbound(relay.address, keys)))
    numbers = np.full((2, 8), 1234.5, np.float32)
    outbound.send(wire.encode(Hidden(1, numbers, b"")))
    found = next_message(inbound)
    assert isinstance(found, Hidden)
    np.testing.assert_array_equal(found.numbers, numbers)
    assert len(relay.seen) > numbers.nbytes and numbers[0, :2].tobytes() not in relay.seen


def test_keys_keep_their_secrets_out_of_logs() -> None:
    keys = make_keys()
    assert keys.client_secret.decode() not in repr(keys) and keys.server_secret.decode() not in repr(keys)


def test_address_that_is_not_ours_is_a_clear_error() -> None:
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.77.*--node-ip-address"):
        open_inbound("192.0.2.77", make_keys())


@pytest.mark.parametrize("frames", [[b"one"], [b"1", b"2", b"3"]])
def test_curve_message_of_another_number_of_frames_is_refused(undo: ExitStack, frames: list[bytes]) -> None:
    keys = make_keys()
    inbound = undo.enter_context(closing(open_inbound(HOST, keys)))
    sender = undo.enter_context(zmq.Context()).socket(zmq.PUSH)
    sender.set(zmq.CURVE_SERVERKEY, keys.server_public)
    sender.set(zmq.CURVE_PUBLICKEY, keys.client_public)
    sender.set(zmq.CURVE_SECRETKEY, keys.client_secret)
    sender.connect(inbound.address)
    sender.send_multipart(frames)
    with pytest.raises(wire.WireError, match=f"{len(frames)} frames"):
        inbound.poll(PATIENCE_SECONDS)
    sender.close(0)


@pytest.mark.parametrize("lengths", [(2**32 - 1, 0), (8, 2**62)])
def test_unix_message_of_absurd_length_is_refused_before_memory_is_taken(
    undo: ExitStack, lengths: tuple[int, int]
) -> None:
    inbound = undo.enter_context(closing(open_inbound(HOST, None)))
    with socket.socket(socket.AF_UNIX) as sender:
        sender.connect(inbound.address)
        sender.sendall(PREFIX.pack(*lengths))
        with pytest.raises(wire.WireError, match="frames of"):
            inbound.poll(PATIENCE_SECONDS)
