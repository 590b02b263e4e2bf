"""Documents are found one by one: what one holds never moves another's score, nor another's prompt."""

from pathlib import Path

import numpy as np
import pytest

from hetero.corpus import Corpus, read_corpus
from hetero.document_prompts import prompts_of, question_of
from hetero.errors import ConfigurationError, InvalidRequestError
from hetero.models.tokenizer import Tokenizer

WORDS = ["harbour", "ship", "king", "bread", "a", "of", "letter", "winter", "dog", "contract"]
VOCABULARY = 512


@pytest.fixture(scope="module")
def tokenizer(stories260k: Path) -> Tokenizer:
    return Tokenizer(stories260k)


def test_replacing_one_document_replaces_at_most_one_of_those_found() -> None:
    random = np.random.default_rng(3)

    def text() -> str:
        return " ".join(random.choice(WORDS, random.integers(1, 30)))

    moved = 0
    for _ in range(2000):
        texts = [f"{number} {text()}" for number in range(12)]
        question, place = text(), int(random.integers(12))
        other = [*texts[:place], f"{place} {text()}", *texts[place + 1 :]]
        before, after = (set(Corpus(tuple(each)).best(question, 4)) for each in (texts, other))
        assert len(before - after) <= 1 and len(after - before) <= 1
        assert all(gone == texts[place] for gone in before - after) or after - before <= {other[place]}
        moved += before != after
    assert moved > 100


def test_those_that_say_most_of_the_question_come_first() -> None:
    corpus = Corpus(("The dog ate bread.", "The contract of the harbour.", "Harbour, contract, winter: a contract."))
    assert corpus.best("Which CONTRACT? A harbour", 2) == (
        "Harbour, contract, winter: a contract.",
        "The contract of the harbour.",
    )
    assert corpus.best("nothing of it", 3) == ("The contract of the harbour.",)
    assert corpus.best("", 3) == ()


def test_equal_scores_are_in_the_files_order(tmp_path: Path) -> None:
    for name in ("b.md", "a.txt", "deeper/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"the king of {name}")
    (tmp_path / "ignored.pdf").write_bytes(b"\xff")
    (tmp_path / "empty.txt").write_text(" \n")
    corpus = read_corpus(tmp_path)
    assert len(corpus) == 3
    assert corpus.best("king", 9) == ("the king of a.txt", "the king of b.md", "the king of deeper/c.txt")


def test_folders_that_hold_no_documents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no folder"):
        read_corpus(tmp_path / "absent")
    with pytest.raises(ConfigurationError, match="holds no documents"):
        read_corpus(tmp_path)
    (tmp_path / "wrong.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        read_corpus(tmp_path)


def test_prompts_are_as_many_as_documents_may_be_and_none_is_too_long(tokenizer: Tokenizer) -> None:
    long = "The king had a ship. " * 200
    alone, short, cut, *missing = prompts_of(tokenizer, "Who?", ["A cat.", long], 5, 100, VOCABULARY)
    assert short == tuple(tokenizer.encode("A cat.\n\nWho?"))
    assert 50 < len(cut) <= 100 and cut[-3:] == tuple(tokenizer.encode("A cat.\n\nWho?"))[-3:]
    assert missing == [alone] * 3
    assert prompts_of(tokenizer, "Who?", [long], 1, 2, VOCABULARY) == [alone, alone]


def test_a_conversation_takes_the_document_into_its_last_turn(tokenizer: Tokenizer) -> None:
    talk = [{"role": "user", "content": "Hello"}, {"role": "user", "content": "Who?"}]
    assert question_of(talk) == "Who?"
    _, with_document = prompts_of(tokenizer, talk, ["A cat."], 1, 100, VOCABULARY)
    joined = [talk[0], {"role": "user", "content": "A cat.\n\nWho?"}]
    assert with_document == tuple(tokenizer.encode_chat(joined))
    with pytest.raises(InvalidRequestError, match="token ids"):
        question_of([1, 2, 3])
