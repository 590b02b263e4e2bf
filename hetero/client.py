"""A client of a server, as plain blocking calls that give our own types and raise our own errors.

Knows the wire through `server/convert.py` and the table of statuses; needs neither Ray nor torch nor a model.
"""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hetero.backends.base import SliceReport
from hetero.batch import FloatArray
from hetero.client_channel import UnaryMethod, call_of, cancel, credentials_of, fail, open_channel, trailers_of
from hetero.client_receipts import Receipts, Serializable
from hetero.errors import UnavailableError
from hetero.prompts import Prompt
from hetero.server import convert
from hetero.server.convert_adaptive import Choice, choice_to_wire, classify_request
from hetero.server.convert_budgets import budget_from_wire
from hetero.server.convert_placement import device_from_wire, plan_from_wire, report_from_wire
from hetero.server.request_id import REQUEST_ID_KEY
from hetero.server.tls import ClientTls
from hetero.streams import CompletionStream, Ending
from hetero.types import Budget, Chunk, ClassScores, Completion, ModelInfo, SamplingParams
from hetero.v1 import admin_pb2 as admin_wire
from hetero.v1 import inference_pb2 as wire
from hetero.v1.admin_pb2_grpc import AdminServiceStub
from hetero.v1.inference_pb2_grpc import HeteroServiceStub
from hetero.validation import check_seconds, merge_options
from placement.types import Device, Plan
from privacy.types import MechanismSpec

CONNECT_SECONDS = 10.0

M = TypeVar("M", bound=Serializable)
T = TypeVar("T")


def connect(
    address: str,
    *,
    tls: ClientTls | bool | None = None,
    token: str | None = None,
    api_key: str | None = None,
    receipt_key: bytes | None = None,
    timeout: float | None = None,
) -> "Client":
    """A client of the server at `address` (HOST:PORT), after one exchange that shows that it is there.

    `tls` True trusts the system's certificate authorities; a ClientTls names files. `token` is the server's, or a JWT
    for one under a policy, `api_key` what such a server issued. With `receipt_key`, the raw public key of the server's
    receipts, an answer without a receipt of its own raises AuditError. `timeout` is the deadline of each call in
    seconds; None: none. A server that is still loading counts as there: see `Client.wait_until_serving`.
    Raises UnavailableError where nobody answers, ConfigurationError for unusable files.
    """
    client = Client(address, tls=tls, token=token, api_key=api_key, receipt_key=receipt_key, timeout=timeout)
    try:
        client.is_serving()
    except BaseException:
        client.close()
        raise
    return client


class Client:
    """One connection; threads may share it. Every call raises UnavailableError where the server is gone."""

    def __init__(
        self,
        address: str,
        *,
        tls: ClientTls | bool | None = None,
        token: str | None = None,
        api_key: str | None = None,
        receipt_key: bytes | None = None,
        timeout: float | None = None,
    ) -> None:
        self.address = address
        self.timeout, self._closed = timeout, False
        check_seconds("timeout", timeout)
        self._metadata = credentials_of(token, api_key)
        self._receipts = Receipts(receipt_key)
        self._channel = open_channel(address, tls)
        self._stub = HeteroServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def generate(self, prompt: Prompt, sampling: SamplingParams | None = None, **options: Any) -> Completion:
        """The whole completion of `prompt`; options as for `stream`."""
        return self.stream(prompt, sampling, **options).result()

    def stream(
        self,
        prompt: Prompt,
        sampling: SamplingParams | None = None,
        *,
        timeout: float | None = None,
        request_id: str | None = None,
        nonce: str = "",
        adaptive: Choice = None,
        **options: Any,
    ) -> CompletionStream:
        """The completion of `prompt` (text, token ids or messages), chunk by chunk; closing it cancels the request.

        `options` are fields of SamplingParams, laid over `sampling`. `timeout` (seconds) stands for the client's own;
        `request_id` is what the server's log shall call the request. Under a policy an identical request gets the same
        answer for nothing; another `nonce` asks and pays for a fresh one. `adaptive`: what an exit may do.
        Raises InvalidRequestError, PromptTooLongError, OverloadedError, CancelledRequestError, StageLostError or
        UnavailableError, under a policy DeniedError and its like, most of them while reading.
        """
        self._check_open()
        check_seconds("timeout", timeout)
        asked = convert.sampling_to_wire(merge_options(sampling, options))
        request = wire.GenerateRequest(sampling=asked, nonce=nonce)
        convert.prompt_to_wire(prompt, request)
        choice_to_wire(adaptive, request)
        metadata = self._metadata + (((REQUEST_ID_KEY, request_id),) if request_id else ())
        call = self._stub.Generate(request, timeout=timeout or self.timeout, metadata=metadata)
        return CompletionStream(self._items(call), lambda: cancel(call))

    def embed(self, texts: Sequence[str], *, nonce: str = "") -> FloatArray:
        """One vector for each text, float32 [N, D]. Raises InvalidRequestError where the model does not embed."""
        request = wire.EmbedRequest(nonce=nonce)
        convert.texts_to_wire(texts, request)
        return convert.vectors_from_wire(self._infer(self._stub.Embed, request))

    def classify(self, texts: Sequence[str], *, adaptive: Choice = None, nonce: str = "") -> list[ClassScores]:
        """Each text's probabilities over the labels, or under a policy perhaps a label alone; `adaptive`: its depth."""
        return convert.scores_from_wire(self._infer(self._stub.Classify, classify_request(texts, nonce, adaptive)))

    def classify_vectors(
        self, rows: FloatArray, *, head: str = "", mechanism: MechanismSpec | None = None
    ) -> list[ClassScores]:
        """Each vector's probabilities over the labels of a head ("": the only one); `rows` float32 [N, D].

        `mechanism` says how the rows were noised: `hetero.local_dp` does both. Raises InvalidRequestError.
        """
        request = convert.rows_to_wire(rows, head, mechanism)
        return convert.classifications_from_wire(self._infer(self._stub.ClassifyVectors, request).classifications)

    def budgets(self) -> list[Budget]:
        """What was spent of every account, for administrators of a server under a policy. Raises DeniedError."""
        response = self._ask(AdminServiceStub(self._channel).ListBudgets, admin_wire.ListBudgetsRequest())
        return [budget_from_wire(budget) for budget in response.budgets]

    @property
    def last_receipt(self) -> bytes | None:
        """The signed receipt of this thread's last answer, which `hetero privacy receipt` reads; None: it had none."""
        return self._receipts.last

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
        self._check_open()
        seconds = self.timeout or CONNECT_SECONDS
        try:
            answer = self._health.Check(health_pb2.HealthCheckRequest(), timeout=seconds)
        except grpc.RpcError as error:
            if call_of(error).code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise UnavailableError(f"nobody at {self.address} answered within {seconds} seconds") from None
            fail(self.address, error)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def wait_until_serving(self, timeout: float | None = None) -> None:
        """Return once the server takes requests. Raises UnavailableError after `timeout` seconds."""
        self._check_open()
        watch = self._health.Watch(health_pb2.HealthCheckRequest(), timeout=timeout)
        try:
            for answer in watch:
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
        except grpc.RpcError as error:
            if call_of(error).code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                fail(self.address, error)
            raise UnavailableError(f"the server at {self.address} was not ready after {timeout} seconds") from None
        finally:
            cancel(watch)

    def close(self) -> None:
        """End the connection; calls in progress are cancelled."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _items(self, call: Iterator[wire.GenerateResponse]) -> Iterator[Chunk | Ending]:
        """Chunks, then the ending; read to gRPC's own end, so that the server does not see a cancelled call."""
        ending, told = None, self._receipts.collect()
        try:
            for response in call:
                told.append(response)
                if response.text or response.token_ids:
                    yield convert.chunk_from_wire(response)
                if response.HasField("summary"):
                    ending = convert.summary_from_wire(response.summary)
        except grpc.RpcError as error:
            fail(self.address, error)
        self._receipts.take(trailers_of(call), told)
        if ending is None:
            raise UnavailableError(f"the server at {self.address} ended the stream before the completion's end")
        yield ending

    def _ask(self, method: UnaryMethod[T], request: Any) -> T:
        """The answer of a method that has no receipt."""
        self._check_open()
        try:
            return method(request, timeout=self.timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            fail(self.address, error)

    def _infer(self, method: UnaryMethod[M], request: Any) -> M:
        """The answer of a method that a policy guards, once its receipt is kept and, where a key is known, believed."""
        self._check_open()
        try:
            answer, call = method.with_call(request, timeout=self.timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            fail(self.address, error)
        self._receipts.take(call.trailing_metadata(), (answer,))
        return answer

    def _check_open(self) -> None:
        if self._closed:
            raise UnavailableError("the client is closed; connect again")
