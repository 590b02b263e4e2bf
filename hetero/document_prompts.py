"""A question, alone and with each of some documents: prompts as a model reads them, all within one length.

Knows prompts and a tokenizer. What a document makes of its prompt depends on no other document. One that is too long
is cut, never refused, for a refusal would tell of it.
"""

from collections.abc import Mapping, Sequence

from hetero.errors import InvalidRequestError
from hetero.prompts import Prompt, PromptTokenizer, split_prompt, tokenize

TokenIds = tuple[int, ...]


def question_of(prompt: Prompt) -> str:
    """What documents are looked for with: the text, or a conversation's last turn. Raises InvalidRequestError."""
    text, _, messages = split_prompt(prompt)
    if not (text or messages):
        raise InvalidRequestError("a question about documents is text or a conversation; token ids are neither")
    return text or messages[-1]["content"]


def prompts_of(
    tokenizer: PromptTokenizer, prompt: Prompt, documents: Sequence[str], count: int, room: int, vocabulary_size: int
) -> list[TokenIds]:
    """The question alone, and then `count` prompts of at most `room` tokens, a document each.

    Where there are fewer documents the question alone stands for the missing ones: it adds nothing to what they say,
    and how many were found does not show in the work that is done.
    """
    alone = tokenize(tokenizer, prompt, vocabulary_size)
    withs = [_with(tokenizer, prompt, document, room, vocabulary_size) or alone for document in documents[:count]]
    return [alone, *withs, *[alone] * (count - len(withs))]


def _with(
    tokenizer: PromptTokenizer, prompt: Prompt, document: str, room: int, vocabulary_size: int
) -> TokenIds | None:
    """The question after as much of the document as fits; None where nothing of it does."""
    while document:
        ids = tokenize(tokenizer, _joined(prompt, document), vocabulary_size)
        if len(ids) <= room:
            return ids
        document = document[: min(len(document) - 1, len(document) * room // len(ids))]
    return None


def _joined(prompt: Prompt, document: str) -> Prompt:
    text, _, messages = split_prompt(prompt)
    if text:
        return f"{document}\n\n{text}"
    last: Mapping[str, str] = messages[-1]
    return [*messages[:-1], {"role": last["role"], "content": f"{document}\n\n{last['content']}"}]
