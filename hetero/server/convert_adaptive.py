"""Dynamic depth between messages and our own types: what a request may choose, and how deep an answer went."""

from collections.abc import Sequence

from adaptive.modes import AdaptiveChoice, ExitMode
from hetero.errors import InvalidRequestError
from hetero.exits.control import choice_of, require_choice
from hetero.server.convert import texts_to_wire
from hetero.v1 import inference_pb2 as wire

#: None: as the model was calibrated.
Choice = AdaptiveChoice | None


def classify_request(texts: Sequence[str], nonce: str, choice: Choice) -> wire.ClassifyRequest:
    """Raises InvalidRequestError where `texts` are no strings."""
    request = wire.ClassifyRequest(nonce=nonce)
    texts_to_wire(texts, request)
    choice_to_wire(choice, request)
    return request


def choice_to_wire(choice: Choice, request: wire.ClassifyRequest | wire.GenerateRequest) -> None:
    """Put `choice` into `request`; None is left out."""
    require_choice(choice)
    if choice is None:
        return
    request.adaptive.mode = choice.mode or ""
    if choice.max_disagreement is not None:
        request.adaptive.max_disagreement = choice.max_disagreement


def choice_from_wire(request: wire.ClassifyRequest | wire.GenerateRequest) -> Choice:
    """Raises InvalidRequestError for a mode that does not exist, or a disagreement that is no share."""
    if not request.HasField("adaptive"):
        return None
    asked = request.adaptive
    usual = ExitMode.TERMINATE if isinstance(request, wire.ClassifyRequest) else None
    most = asked.max_disagreement if asked.HasField("max_disagreement") else None
    return choice_of(asked.mode or None, most, usual)


def refuse_exits(request: wire.GenerateRequest) -> None:
    """Raise InvalidRequestError where a completion asks for an exit under a policy: its pace tells of the text."""
    choice = choice_from_wire(request)
    if choice is not None and choice.mode is not ExitMode.OFF:
        raise InvalidRequestError("under the policy every token goes through all blocks; ask without an exit")
