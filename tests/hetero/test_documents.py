"""Writing about private documents end to end, on real models and split over stages."""

import pytest

from hetero import Runtime
from hetero.documents import DocumentWriter
from hetero.errors import InvalidRequestError, PromptTooLongError
from privacy.mechanisms import DocumentTokens

PROMPT = "Once upon a time"
PLAN = "cpu/torch:0-5"


@pytest.mark.parametrize("plan", [PLAN, "cpu/openvino:0-2,cpu/torch:2-5"])
def test_documents_that_may_say_nothing_leave_the_public_text(stories260k: object, plan: str) -> None:
    """With a clip of nearly 0 and hardly any temperature the text is the public model's greedy one."""
    mechanism = DocumentTokens(clip=1e-4, temperature=1e-3, documents=2)
    with DocumentWriter(str(stories260k), mechanism, plan) as writer:
        written = writer.write(PROMPT, [f"The king had a cat. {PROMPT}", PROMPT], 24)
    with Runtime(str(stories260k), PLAN, in_process=True, threads=1) as runtime:
        assert written.text == runtime.generate(PROMPT, max_tokens=24).text
    assert written.charge == mechanism.charge(24)


def test_documents_that_agree_move_the_text(stories260k: object) -> None:
    """Eight times the same document and a clip that lets it through: the text is that of the document's prompt."""
    mechanism = DocumentTokens(clip=20.0, temperature=1e-3, documents=8)
    public, private = "The", "Lily had a red ball. The"
    with DocumentWriter(str(stories260k), mechanism, PLAN) as writer:
        moved = writer.write(public, [private] * 8, 16)
        still = writer.write(public, [], 16)
    with Runtime(str(stories260k), PLAN, in_process=True, threads=1) as runtime:
        assert moved.text == runtime.generate(private, max_tokens=16).text
        assert still.text == runtime.generate(public, max_tokens=16).text
    assert moved.text != still.text


def test_writer_refuses_more_documents_than_its_mechanism_covers(stories260k: object) -> None:
    with DocumentWriter(str(stories260k), DocumentTokens(1.0, 1.0, 1), PLAN, context=64) as writer:
        with pytest.raises(InvalidRequestError, match="give no more"):
            writer.write(PROMPT, [PROMPT, PROMPT], 4)
        with pytest.raises(PromptTooLongError, match="exceed the context"):
            writer.write(PROMPT, [PROMPT], 64)
        with pytest.raises(InvalidRequestError, match="at least 1"):
            writer.write(PROMPT, [PROMPT], 0)


def test_writer_refuses_an_encoder(minilm: object) -> None:
    with pytest.raises(InvalidRequestError, match="encoder"):
        DocumentWriter(str(minilm), DocumentTokens(1.0, 1.0, 1))
