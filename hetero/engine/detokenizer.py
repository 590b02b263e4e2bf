"""Token ids become text as they come, never splitting a character.

Knows a tokenizer by its `decode` alone, so it serves byte-level vocabularies, SentencePiece-like ones with leading
spaces and byte fallback, and WordPiece. The pieces joined are what `decode` of prompt and completion says after the
prompt's text, as long as the bytes are UTF-8.
"""

from collections.abc import Sequence
from typing import Protocol

REPLACEMENT = "\ufffd"
#: A character has at most four bytes, so at most its first three can be the last tokens of an unfinished one.
UNFINISHED_TOKENS = 3
#: After so many tokens that end in no character the bytes are not UTF-8, and waiting longer would not help.
MAX_HELD_TOKENS = 8


class TextDecoder(Protocol):
    """What the engine needs of a tokenizer."""

    def decode(self, ids: Sequence[int], /) -> str:
        """Text of the ids, special tokens skipped."""
        ...


def text_after(decoder: TextDecoder, before: Sequence[int], token_ids: Sequence[int]) -> str:
    """The text of `token_ids` behind `before`, its first space included."""
    reader = Detokenizer(decoder, before)
    return "".join([*(reader.add(token_id) for token_id in token_ids), reader.flush()])


class Detokenizer:
    """Text of one sequence of ids, piece by piece; each costs two decodes of a few tokens, however long the text is.

    A decoder may strip the first token's space, join words or merge bytes, so tokens are never decoded alone: those
    before `_read` are the last ones told as text, and what a new token adds is the difference to their text.
    """

    def __init__(self, decoder: TextDecoder, before: Sequence[int] = ()) -> None:
        """`before`: the prompt's ids, so that the text is what follows theirs, its first space included."""
        self._decoder = decoder
        self._window, self._told = self._last_text(before)
        self._read = len(self._window)

    def add(self, token_id: int) -> str:
        """The text that is final now; empty while a character is unfinished or the token has no text."""
        self._window.append(token_id)
        text = self._decoder.decode(self._window)
        if text == self._told:
            self._drop_silent()
            return ""
        if not text.endswith(REPLACEMENT):
            return self._tell(text, len(self._window))
        if len(self._window) - self._read < MAX_HELD_TOKENS:
            return ""
        end = len(self._window) - UNFINISHED_TOKENS
        return self._tell(self._decoder.decode(self._window[:end]), end)

    def flush(self) -> str:
        """What is held at the end, with U+FFFD for bytes that are no character."""
        return self._tell(self._decoder.decode(self._window), len(self._window))

    def _last_text(self, before: Sequence[int]) -> tuple[list[int], str]:
        """The fewest last ids that have a text, and of whole characters; none where there are no such."""
        for count in range(1, min(len(before), MAX_HELD_TOKENS) + 1):
            last = list(before[-count:])
            text = self._decoder.decode(last)
            if text and REPLACEMENT not in text:
                return last, text
        return [], ""

    def _drop_silent(self) -> None:
        """Keep the window short where tokens without text repeat; the first ones may yet strip a space."""
        if len(self._window) - self._read > MAX_HELD_TOKENS:
            self._window.pop()

    def _tell(self, text: str, end: int) -> str:
        """Move the window on: [_read, end) are told now, and `text` is that of all up to `end`."""
        piece = self._difference(text, end)
        self._window = self._window[self._read :]
        self._read = end - self._read
        self._told = self._decoder.decode(self._window[: self._read])
        return piece

    def _difference(self, text: str, end: int) -> str:
        if text.startswith(self._told):
            return text[len(self._told) :]
        # Bytes that are not UTF-8 made the decoder take back characters that are told already.
        return self._decoder.decode(self._window[self._read : end])
