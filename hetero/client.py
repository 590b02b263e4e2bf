"""A client of a server, as plain blocking calls that give our own types and raise our own errors.

Knows the wire through `server/convert.py` and the table of statuses; needs neither Ray nor torch nor a model.
"""

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, NoReturn, TypeVar, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hetero.backends.base import SliceReport
from hetero.batch import FloatArray
from hetero.errors import InvalidRequestError, UnavailableError
from hetero.prompts import Prompt
from hetero.server import convert
from hetero.server.convert_placement import device_from_wire, plan_from_wire, report_from_wire
from hetero.server.request_id import REQUEST_ID_KEY
from hetero.server.status import ERROR_KEY, error_from
from hetero.server.tls import ClientTls
from hetero.streams import CompletionStream, Ending
from hetero.types import Chunk, ClassScores, Completion, ModelInfo, SamplingParams
from hetero.v1 import inference_pb2 as wire
from hetero.v1.inference_pb2_grpc import HeteroServiceStub
from hetero.validation import merge_options
from placement.types import Device, Plan

MAX_MESSAGE_BYTES = 64 * 2**20
CONNECT_SECONDS = 10.0
_KEEPALIVE_MILLISECONDS = 30_000

T = TypeVar("T")
Metadata = tuple[tuple[str, str], ...]


def connect(
    address: str,
    *,
    tls: ClientTls | bool | None = None,
    token: str | None = None,
    timeout: float | None = None,
) -> "Client":
    """A client of the server at `address` (HOST:PORT), after one exchange that shows that it is there.

    `tls` True trusts the system's certificate authorities; a ClientTls names files. `token` is the server's. `timeout`
    is the deadline of each call in seconds; None: none. A server that is still loading counts as there: see
    `Client.wait_until_serving`. Raises UnavailableError where nobody answers, ConfigurationError for unusable files.
    """
    client = Client(address, tls=tls, token=token, timeout=timeout)
    try:
        client.is_serving()
    except BaseException:
        client.close()
        raise
    return client


class Client:
    """One connection; threads may share it. Every call raises UnavailableError where the server is gone."""

    def __init__(self, address: str, *, tls: ClientTls | bool | None, token: str | None, timeout: float | None) -> None:
        self.address = address
        self.timeout = timeout
        self._metadata: Metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._channel = _channel(address, tls)
        self._stub = HeteroServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def generate(
        self,
        prompt: Prompt,
        sampling: SamplingParams | None = None,
        *,
        timeout: float | None = None,
        request_id: str | None = None,
        **options: Any,
    ) -> Completion:
        """The whole completion of `prompt`; see `stream`."""
        return self.stream(prompt, sampling, timeout=timeout, request_id=request_id, **options).result()

    def stream(
        self,
        prompt: Prompt,
        sampling: SamplingParams | None = None,
        *,
        timeout: float | None = None,
        request_id: str | None = None,
        **options: Any,
    ) -> CompletionStream:
        """The completion of `prompt` (text, token ids or messages), chunk by chunk; closing it cancels the request.

        `options` are fields of SamplingParams, laid over `sampling`. `timeout` (seconds) stands for the client's own;
        `request_id` is what the server's log shall call the request. Raises InvalidRequestError, PromptTooLongError,
        OverloadedError, CancelledRequestError, StageLostError or UnavailableError, most of them while reading.
        """
        request = wire.GenerateRequest(sampling=convert.sampling_to_wire(merge_options(sampling, options)))
        convert.prompt_to_wire(prompt, request)
        metadata = self._metadata + (((REQUEST_ID_KEY, request_id),) if request_id else ())
        call = self._stub.Generate(request, timeout=timeout or self.timeout, metadata=metadata)
        return CompletionStream(self._items(call), lambda: _cancel(call))

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """One vector for each text, float32 [N, D]. Raises InvalidRequestError where the model does not embed."""
        return convert.vectors_from_wire(self._ask(self._stub.Embed, _of_texts(wire.EmbedRequest, texts)))

    def classify(self, texts: Sequence[str]) -> list[ClassScores]:
        """Each text's probabilities over the model's labels. Raises InvalidRequestError where the model has none."""
        return convert.scores_from_wire(self._ask(self._stub.Classify, _of_texts(wire.ClassifyRequest, texts)))

    def devices(self) -> tuple[Device, ...]:
        """The devices that the server found when it started."""
        response = self._ask(self._stub.ListDevices, wire.ListDevicesRequest())
        return tuple(device_from_wire(device) for device in response.devices)

    @property
    def plan(self) -> Plan:
        """The plan that is served now."""
        return plan_from_wire(self._ask(self._stub.GetPlan, wire.GetPlanRequest()).plan)

    @property
    def reports(self) -> tuple[SliceReport, ...]:
        """What really runs on each stage, as its engine says."""
        response = self._ask(self._stub.GetPlan, wire.GetPlanRequest())
        return tuple(report_from_wire(report) for report in response.reports)

    @property
    def info(self) -> ModelInfo:
        """The model that is served."""
        return convert.model_from_wire(self._ask(self._stub.GetModel, wire.GetModelRequest()))

    def is_serving(self) -> bool:
        """Whether the server takes requests now; False while it loads or drains."""
        try:
            answer = self._health.Check(health_pb2.HealthCheckRequest(), timeout=self.timeout or CONNECT_SECONDS)
        except grpc.RpcError as error:
            self._fail(error)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def wait_until_serving(self, timeout: float | None = None) -> None:
        """Return once the server takes requests. Raises UnavailableError after `timeout` seconds."""
        watch = self._health.Watch(health_pb2.HealthCheckRequest(), timeout=timeout)
        try:
            for answer in watch:
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
        except grpc.RpcError as error:
            if _call_of(error).code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                self._fail(error)
            raise UnavailableError(f"the server at {self.address} was not ready after {timeout} seconds") from None
        finally:
            _cancel(watch)

    def close(self) -> None:
        """End the connection; calls in progress are cancelled."""
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _items(self, call: Iterator[wire.GenerateResponse]) -> Iterator[Chunk | Ending]:
        """Chunks, then the ending; read to gRPC's own end, so that the server does not see a cancelled call."""
        ending = None
        try:
            for response in call:
                if response.text or response.token_ids:
                    yield convert.chunk_from_wire(response)
                if response.HasField("summary"):
                    ending = convert.summary_from_wire(response.summary)
        except grpc.RpcError as error:
            self._fail(error)
        if ending is None:
            raise UnavailableError(f"the server at {self.address} ended the stream before the completion's end")
        yield ending

    def _ask(self, method: Callable[..., T], request: Any) -> T:
        try:
            return method(request, timeout=self.timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            self._fail(error)

    def _fail(self, error: grpc.RpcError) -> NoReturn:
        """Raise our own error for gRPC's."""
        call = _call_of(error)
        status, message = call.code(), call.details() or ""
        name = next((str(value) for key, value in call.trailing_metadata() or () if key == ERROR_KEY), None)
        if name is None:
            message = _plain_words(self.address, status, message)
        raise error_from(status, message, name) from None


def _plain_words(address: str, status: grpc.StatusCode, message: str) -> str:
    """What gRPC itself has to say, as a sentence that names the way out."""
    if status is grpc.StatusCode.UNAVAILABLE:
        return f"no server answers at {address} ({message}); start one with `hetero serve MODEL`"
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"the server at {address} did not finish within the deadline; give it more time or ask for less"
    return message


def _channel(address: str, tls: ClientTls | bool | None) -> grpc.Channel:
    options = (
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MILLISECONDS),
    )
    if not tls:
        return grpc.insecure_channel(address, options)
    chosen = tls if isinstance(tls, ClientTls) else ClientTls()
    return grpc.secure_channel(address, chosen.credentials(), options)


def _of_texts(kind: Callable[..., T], texts: Sequence[str]) -> T:
    try:
        return kind(texts=texts)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"the texts must be a list of strings: {error}") from None


def _call_of(error: grpc.RpcError) -> grpc.Call:
    """gRPC's errors of calls are calls themselves, which its types do not say."""
    return cast(grpc.Call, error)


def _cancel(call: object) -> None:
    cast(grpc.RpcContext, call).cancel()
