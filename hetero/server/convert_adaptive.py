"""Dynamic depth between messages and our own types: what a request may choose, and how deep an answer went."""

from collections.abc import Sequence

from adaptive.modes import AdaptiveChoice
from hetero.errors import InvalidRequestError
from hetero.exits.control import choice_of
from hetero.v1 import inference_pb2 as wire

#: None: as the model was calibrated.
Choice = AdaptiveChoice | None


def classify_request(texts: Sequence[str], nonce: str, choice: Choice) -> wire.ClassifyRequest:
    """Raises InvalidRequestError where `texts` are no strings."""
    try:
        request = wire.ClassifyRequest(texts=texts, nonce=nonce)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"the texts must be a list of strings: {error}") from None
    if choice is not None:
        request.adaptive.mode = choice.mode
        if choice.max_disagreement is not None:
            request.adaptive.max_disagreement = choice.max_disagreement
    return request


def choice_from_wire(request: wire.ClassifyRequest) -> Choice:
    """Raises InvalidRequestError for a mode that does not exist, or a disagreement that is no share."""
    if not request.HasField("adaptive"):
        return None
    asked = request.adaptive
    return choice_of(asked.mode or None, asked.max_disagreement if asked.HasField("max_disagreement") else None)
