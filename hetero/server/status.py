"""One table between our errors and gRPC statuses, read one way by the server and the other by the client.

Several errors share a status; the class's name goes along in the trailing metadata `hetero-error`, so that a client
raises what the server raised. What is not ours becomes INTERNAL with an id to find it by in the server's log, and
nothing of its text leaves the server.
"""

import logging
import uuid

import grpc

from hetero import errors
from placement import errors as placement_errors
from privacy import errors as privacy_errors

logger = logging.getLogger(__name__)

ERROR_KEY = "hetero-error"

_STATUSES: dict[type[Exception], grpc.StatusCode] = {
    errors.InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.PromptTooLongError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.OverloadedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.StageLostError: grpc.StatusCode.UNAVAILABLE,
    errors.UnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.CancelledRequestError: grpc.StatusCode.CANCELLED,
    errors.AuthenticationError: grpc.StatusCode.UNAUTHENTICATED,
    privacy_errors.CredentialError: grpc.StatusCode.UNAUTHENTICATED,
    privacy_errors.BudgetExhaustedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    privacy_errors.DeniedError: grpc.StatusCode.PERMISSION_DENIED,
    privacy_errors.EncryptionError: grpc.StatusCode.INVALID_ARGUMENT,
    privacy_errors.LedgerError: grpc.StatusCode.UNAVAILABLE,
    privacy_errors.AuditError: grpc.StatusCode.UNAVAILABLE,
    privacy_errors.PolicyError: grpc.StatusCode.FAILED_PRECONDITION,
    privacy_errors.MechanismError: grpc.StatusCode.FAILED_PRECONDITION,
    privacy_errors.PrivacyError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ConfigurationError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ModelError: grpc.StatusCode.FAILED_PRECONDITION,
    placement_errors.PlacementError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.BackendError: grpc.StatusCode.INTERNAL,
    errors.HeteroError: grpc.StatusCode.INTERNAL,
}
_BY_NAME = {kind.__name__: kind for kind in _STATUSES}
#: gRPC's words for a message above the bound, which has RESOURCE_EXHAUSTED like a full queue.
_TOO_LARGE = "larger than max"
#: What a status means where no `hetero-error` says more: gRPC's own refusals, and other servers'.
_BARE: dict[grpc.StatusCode, type[Exception]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequestError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.OverloadedError,
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    grpc.StatusCode.CANCELLED: errors.CancelledRequestError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.CancelledRequestError,
    grpc.StatusCode.UNAUTHENTICATED: errors.AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: privacy_errors.DeniedError,
    grpc.StatusCode.UNIMPLEMENTED: errors.ConfigurationError,
}


def status_of(error: Exception) -> tuple[grpc.StatusCode, str, str]:
    """(status, message, class name) for `error`. One that is not ours is logged whole and told as an id alone."""
    for kind in type(error).__mro__:
        if kind in _STATUSES:
            return _STATUSES[kind], str(error), kind.__name__
    incident = uuid.uuid4().hex[:12]
    logger.error("incident %s", incident, exc_info=error)
    message = f"the server failed unexpectedly; its log has the cause under incident {incident}"
    return grpc.StatusCode.INTERNAL, message, errors.HeteroError.__name__


def error_from(status: grpc.StatusCode, message: str, name: str | None) -> Exception:
    """The error that a status and the `hetero-error` beside it stand for."""
    kind = _BY_NAME.get(name or "") or _BARE.get(status, errors.HeteroError)
    if name is None and _TOO_LARGE in message:
        kind = errors.InvalidRequestError
    return kind(message or f"the server answered {status.name} without a word")
