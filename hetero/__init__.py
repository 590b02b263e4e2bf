"""Serve one transformer on whatever a site owns: its layers cut over CPUs, GPUs and NPUs, streamed over gRPC.

    with hetero.Runtime("tiny") as runtime:
        print(runtime.generate("Once upon a time").text)

    with hetero.connect("localhost:50051") as client:
        for chunk in client.stream("Once upon a time"):
            print(chunk.text, end="")

This file names what is public; each name is imported when it is first used, so that `import hetero` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hetero.client import Client, connect
    from hetero.errors import (
        AuthenticationError,
        BackendError,
        CancelledRequestError,
        ConfigurationError,
        HeteroError,
        InvalidRequestError,
        ModelError,
        OverloadedError,
        PromptTooLongError,
        StageLostError,
        UnavailableError,
    )
    from hetero.local_dp import LocalClassifier
    from hetero.runtime import Runtime
    from hetero.server.tls import ClientTls
    from hetero.streams import CompletionStream
    from hetero.types import (
        Chunk,
        ClassScores,
        Completion,
        FinishReason,
        ModelInfo,
        SamplingParams,
        Timings,
        TokenLogprob,
    )
    from privacy.errors import BudgetExhaustedError, CredentialError, DeniedError, PrivacyError

__version__ = "0.1.0"

_HOMES = {
    "hetero.client": ("Client", "connect"),
    "hetero.errors": (
        "AuthenticationError",
        "BackendError",
        "CancelledRequestError",
        "ConfigurationError",
        "HeteroError",
        "InvalidRequestError",
        "ModelError",
        "OverloadedError",
        "PromptTooLongError",
        "StageLostError",
        "UnavailableError",
    ),
    "hetero.local_dp": ("LocalClassifier",),
    "hetero.runtime": ("Runtime",),
    "hetero.server.tls": ("ClientTls",),
    "hetero.streams": ("CompletionStream",),
    "hetero.types": (
        "Chunk",
        "ClassScores",
        "Completion",
        "FinishReason",
        "ModelInfo",
        "SamplingParams",
        "Timings",
        "TokenLogprob",
    ),
    "privacy.errors": ("BudgetExhaustedError", "CredentialError", "DeniedError", "PrivacyError"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AuthenticationError",
    "BackendError",
    "BudgetExhaustedError",
    "CancelledRequestError",
    "Chunk",
    "ClassScores",
    "Client",
    "ClientTls",
    "Completion",
    "CompletionStream",
    "ConfigurationError",
    "CredentialError",
    "DeniedError",
    "FinishReason",
    "HeteroError",
    "InvalidRequestError",
    "LocalClassifier",
    "ModelError",
    "ModelInfo",
    "OverloadedError",
    "PrivacyError",
    "PromptTooLongError",
    "Runtime",
    "SamplingParams",
    "StageLostError",
    "Timings",
    "TokenLogprob",
    "UnavailableError",
    "__version__",
    "connect",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'hetero' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
