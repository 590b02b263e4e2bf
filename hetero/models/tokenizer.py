"""Text to token ids and back, by the `tokenizers` library and the folder's own files.

Knows padding and truncation; what the folder's settings say is read in `tokenizer_settings.py`, and chat templates are
rendered in `chat_template.py`. Safe to call from several threads. `transformers` is asked only for a folder without
`tokenizer.json`.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Encoding
from tokenizers import Tokenizer as RawTokenizer

from hetero.batch import LongArray
from hetero.errors import InvalidRequestError, ModelError, PromptTooLongError
from hetero.models.chat_template import plain_chat, render_chat
from hetero.models.tokenizer_settings import read_settings

PaddedTexts = tuple[LongArray, LongArray, LongArray]

#: Of a text that is to be cut, so many characters a token are looked at first: nearly always they are enough.
CHARACTERS_PER_TOKEN = 16


class Tokenizer:
    """The tokenizer of the model in `folder`. Raises ModelError where its files are missing or corrupt."""

    def __init__(self, folder: Path) -> None:
        settings = read_settings(folder)
        self._special, self._template = settings.special, settings.chat_template
        self._raw = _load(folder)
        settings.apply(self._raw)
        cut = self._raw.truncation or {}
        self._cut_side = settings.truncation_side or cut.get("direction", "right")
        self._raw.no_truncation()
        self._raw.no_padding()
        self._cutters: dict[int, RawTokenizer] = {}
        named = self._raw.token_to_id(self._special.get("pad_token", ""))
        self._pad_id = settings.pad_id if named is None else named

    @property
    def vocabulary_size(self) -> int:
        """Ids that the tokenizer knows, special ones included; the model's own may be more."""
        return int(self._raw.get_vocab_size(with_added_tokens=True))

    @property
    def has_chat_template(self) -> bool:
        return self._template is not None

    def encode(self, text: str, special_tokens: bool = True, most_tokens: int | None = None) -> list[int]:
        """Ids of `text`, with the special tokens that the model wants around it. Raises InvalidRequestError.

        PromptTooLongError, without a look at the text, where it has more characters than `most_tokens` tokens could.
        """
        if most_tokens is not None and len(text) > most_tokens and len(text) > most_tokens * self._longest_token:
            raise PromptTooLongError(
                f"the prompt has {len(text)} characters, too many for {most_tokens} tokens; cut it"
            )
        return list(self._checked([text], self._raw, special_tokens)[0].ids)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Text of `ids`; bytes that form no whole character become U+FFFD. Unknown ids are left out."""
        return str(self._raw.decode(list(ids), skip_special_tokens=skip_special_tokens))

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The prompt for a conversation of {role, content}, ready for the assistant's turn.

        By the model's template, or as plain lines `role: content` where it has none. Raises InvalidRequestError.
        """
        if self._template is None:
            return plain_chat(messages)
        return render_chat(self._template, messages, self._special)

    def encode_chat(self, messages: Sequence[Mapping[str, str]], most_tokens: int | None = None) -> list[int]:
        """Ids of `chat`: a template writes its own special tokens, so none are added to it. Raises as `encode`."""
        return self.encode(self.chat(messages), self._template is None, most_tokens)

    def encode_batch_padded(self, texts: Sequence[str], max_length: int) -> PaddedTexts:
        """(ids, mask, types), each int64 [B, L], L the longest text's tokens but at most `max_length`."""
        encodings = self._cut(texts, max_length)
        shape = (len(encodings), max((len(e.ids) for e in encodings), default=0))
        ids, mask, types = np.full(shape, self._pad_id, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, encoding in enumerate(encodings):
            length = len(encoding.ids)
            ids[row, :length], mask[row, :length], types[row, :length] = encoding.ids, 1, encoding.type_ids
        return ids, mask, types

    @cached_property
    def _longest_token(self) -> int:
        """Characters of the longest token."""
        return max(map(len, self._raw.get_vocab(with_added_tokens=True)), default=1)

    def _cut(self, texts: Sequence[str], max_length: int) -> list[Encoding]:
        """Each text cut to `max_length` tokens. A long one is read to its end only where its first words are too few:
        a page costs no more for the book behind it."""
        cutter = self._cutter(max_length)
        most = max_length * CHARACTERS_PER_TOKEN if self._cut_side == "right" else None
        begun = [_first_words(text, most) for text in texts]
        encodings = self._checked(begun, cutter, True)
        short = [i for i, text in enumerate(begun) if len(text) < len(texts[i]) and not encodings[i].overflowing]
        for index, whole in zip(short, self._checked([texts[i] for i in short], cutter, True), strict=True):
            encodings[index] = whole
        return encodings

    def _cutter(self, max_length: int) -> RawTokenizer:
        if max_length not in self._cutters:
            cutter = RawTokenizer.from_str(self._raw.to_str())
            cutter.enable_truncation(max_length, direction=self._cut_side)
            self._cutters[max_length] = cutter
        return self._cutters[max_length]

    @staticmethod
    def _checked(texts: list[str], raw: RawTokenizer, special_tokens: bool) -> list[Encoding]:
        try:
            return list(raw.encode_batch(texts, add_special_tokens=special_tokens))
        except (TypeError, UnicodeEncodeError):
            raise InvalidRequestError("The text is not valid Unicode: send UTF-8 without lone surrogates.") from None


def _first_words(text: str, most: int | None) -> str:
    """The words that end within the first `most` characters; the whole text where none does."""
    if most is None or len(text) <= most:
        return text
    words = text[:most].rsplit(maxsplit=1)
    return words[0] if len(words) > 1 else text


def _load(folder: Path) -> RawTokenizer:
    path = folder / "tokenizer.json"
    if not path.is_file():
        return _converted(folder)
    try:
        return RawTokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise ModelError(f"{path} is no readable tokenizer ({error}): fetch the file again.") from None


def _converted(folder: Path) -> RawTokenizer:
    """From a folder that has only the older vocabulary files."""
    if not any((folder / name).is_file() for name in ("vocab.json", "vocab.txt", "tokenizer.model")):
        raise ModelError(f"{folder} holds no tokenizer.json: fetch the model's tokenizer files.")
    from transformers import AutoTokenizer

    try:
        raw: RawTokenizer = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    except Exception as error:
        raise ModelError(f"{folder}: its tokenizer files cannot be converted ({error}): add tokenizer.json.") from None
    return raw
