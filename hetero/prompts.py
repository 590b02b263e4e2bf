"""What a prompt may be (text, token ids, a conversation) and how each becomes token ids.

Knows the tokenizer's interface; nothing of sampling or of lengths.
"""

from collections.abc import Mapping, Sequence
from operator import index
from typing import Protocol

from hetero.errors import InvalidRequestError
from hetero.validation import check_length, check_token_ids

#: One turn of a conversation: "role" and "content".
Message = Mapping[str, str]
#: Text, token ids, or a conversation.
Prompt = str | Sequence[int] | Sequence[Message]


class PromptTokenizer(Protocol):
    """What is needed of `hetero.models.tokenizer.Tokenizer`."""

    def encode(self, text: str, *, most_tokens: int | None) -> list[int]: ...

    def encode_chat(self, messages: Sequence[Message], *, most_tokens: int | None) -> list[int]: ...


def tokenize(
    tokenizer: PromptTokenizer, prompt: Prompt, vocabulary_size: int, context_tokens: int | None = None
) -> tuple[int, ...]:
    """The prompt's token ids, at least one. Raises InvalidRequestError where it is empty or not a prompt.

    PromptTooLongError where it is seen at once that it does not fit `context_tokens`: what is far too long is not read.
    """
    text, token_ids, messages = split_prompt(prompt)
    if text:
        token_ids = tokenizer.encode(text, most_tokens=context_tokens)
    elif messages:
        token_ids = tokenizer.encode_chat(messages, most_tokens=context_tokens)
    else:
        if context_tokens is not None:
            check_length(len(token_ids), context_tokens)
        check_token_ids("the prompt", token_ids, vocabulary_size)
    if not token_ids:
        raise InvalidRequestError("the prompt has no tokens; give some text")
    return tuple(token_ids)


def split_prompt(prompt: Prompt) -> tuple[str, list[int], list[Message]]:
    """The prompt as text, token ids or messages, the other two empty. Raises InvalidRequestError."""
    if isinstance(prompt, str):
        _refuse_empty(prompt)
        return prompt, [], []
    try:
        items = list(prompt)
    except TypeError:
        raise InvalidRequestError(f"the prompt is {prompt!r}; give text, token ids or messages") from None
    _refuse_empty(items)
    if isinstance(items[0], Mapping):
        return "", [], [_message(item) for item in items]
    return "", [_whole(item) for item in items], []


def _refuse_empty(prompt: Sequence[object]) -> None:
    if not prompt:
        raise InvalidRequestError("the prompt is empty; give some text, token ids or messages")


def _message(item: object) -> Message:
    if isinstance(item, Mapping):
        role, content = item.get("role"), item.get("content")
        if isinstance(role, str) and role and isinstance(content, str):
            return {"role": role, "content": content}
    raise InvalidRequestError('each message of a prompt needs a "role" and a "content", both text')


def _whole(item: object) -> int:
    try:
        return index(item)  # type: ignore[arg-type]  # the error is the answer for what is no number
    except TypeError:
        raise InvalidRequestError(f"the prompt holds {item!r}, which is no token id") from None
