"""The errors of the runtime.

HeteroError
  ModelError            the model's folder cannot be used: missing, corrupt, unsupported
  BackendError          an engine cannot compile or run a slice, or did not run it where the plan says
  InvalidRequestError   the caller's request is wrong
    PromptTooLongError  the prompt does not fit the context
  OverloadedError       the queue is full
  StageLostError        a stage died under its requests
  CancelledRequestError the caller went away or the deadline passed
  ConfigurationError    a setting, a port, a cluster is not usable
  UnavailableError      the server cannot be reached, is loading or is draining
  AuthenticationError   the credential is missing or wrong

Each takes one message string and has no constructor of its own: exceptions cross Ray's actors by pickling.
"""


class HeteroError(Exception):
    """Root of the runtime's errors. The message is one sentence that names the thing and the way out."""


class ModelError(HeteroError):
    """The model's folder cannot be used: missing, corrupt, or of an architecture that is not supported."""


class BackendError(HeteroError):
    """An engine cannot compile or run a slice, or did not run it where the plan says."""


class InvalidRequestError(HeteroError):
    """The request is wrong in itself: empty prompt, sampling value out of range, a method the model lacks."""


class PromptTooLongError(InvalidRequestError):
    """The prompt and the tokens asked for do not fit the context."""


class OverloadedError(HeteroError):
    """The queue is full; nothing was spent on the request."""


class StageLostError(HeteroError):
    """A stage's process died while requests were in it."""


class CancelledRequestError(HeteroError):
    """The caller went away, cancelled, or its deadline passed."""


class ConfigurationError(HeteroError):
    """A setting, a port, a file or a cluster is not usable as asked."""


class UnavailableError(HeteroError):
    """The server cannot be reached, is still loading, or is draining; nothing was spent on the request."""


class AuthenticationError(HeteroError):
    """The credential is missing, or is not the one that the server knows."""
