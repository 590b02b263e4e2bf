"""A folder of private documents: read once, and searched for those that have most to do with a question.

Each document is scored by itself, from the question and its own words: no number of the folder as a whole (how rare a
word is in it, how long its documents are) enters a score. So documents that differ in one give results that differ in
one, which is what `privacy.mechanisms.DocumentTokens` protects. Knows files and words; no model, no policy.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hetero.errors import ConfigurationError

#: How soon a word's repetitions count for little, and how much a document's length does: BM25's usual values. Its
#: average length and its rarity of words would be the folder's, so fixed numbers stand for them.
SATURATION, LENGTH_SHARE, USUAL_WORDS = 1.2, 0.75, 200
#: Rare words say more, and long words are rarer than short ones; from so many letters on no more.
LONG_WORD_LETTERS = 8

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Document:
    """One file's text and how often each word is in it."""

    text: str
    words: Counter[str]

    def score(self, wanted: frozenset[str]) -> float:
        """How much the document has to do with the words that are wanted: a function of these two alone."""
        length = self.words.total() / USUAL_WORDS
        damping = SATURATION * (1 - LENGTH_SHARE + LENGTH_SHARE * length)
        found = ((word, self.words[word]) for word in sorted(wanted) if word in self.words)
        return sum(_weight(word) * count / (count + damping) for word, count in found)


class Corpus:
    """Documents in a fixed order, which decides between equal scores."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._documents = tuple(Document(text, Counter(_words(text))) for text in texts)

    def __len__(self) -> int:
        return len(self._documents)

    def best(self, question: str, count: int) -> tuple[str, ...]:
        """The `count` documents with the highest scores above 0, the best first; fewer where fewer have one."""
        wanted = frozenset(_words(question))
        scored = [(document.score(wanted), document.text) for document in self._documents]
        found = sorted((each for each in scored if each[0] > 0), key=lambda each: -each[0])
        return tuple(text for _, text in found[:count])


def read_corpus(folder: Path) -> Corpus:
    """Every `.txt` and `.md` file under `folder` is a document: the unit that a guarantee speaks of.

    Raises ConfigurationError where there is none, or one cannot be read as UTF-8.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"there is no folder of documents {str(folder)!r}")
    files = sorted(path for path in folder.rglob("*") if path.suffix in {".txt", ".md"} and path.is_file())
    texts = [text for text in map(_read, files) if text]
    if not texts:
        raise ConfigurationError(f"{str(folder)!r} holds no documents; put one a file into it, as .txt or .md")
    return Corpus(tuple(texts))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"the document {str(path)!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"the document {str(path)!r} is not UTF-8; convert it, or take it out") from None


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _weight(word: str) -> float:
    return (min(len(word), LONG_WORD_LETTERS) / LONG_WORD_LETTERS) ** 2
