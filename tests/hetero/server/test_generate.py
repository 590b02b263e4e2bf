"""Completions over a real channel: what a client gets is what the runtime gives in process."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from hetero import FinishReason, InvalidRequestError, PromptTooLongError, Runtime, SamplingParams
from hetero.client import Client
from hetero.v1 import inference_pb2 as wire
from hetero.v1.inference_pb2_grpc import HeteroServiceStub

PROMPT = "Once upon a time"


@pytest.mark.parametrize(
    "options",
    [
        {"max_tokens": 48},
        {"max_tokens": 48, "temperature": 0.9, "top_p": 0.9, "top_k": 40, "seed": 7},
        {"max_tokens": 48, "temperature": 0.8, "min_p": 0.05, "repetition_penalty": 1.2, "seed": 8},
        {"max_tokens": 200, "stop": ["Lily"]},
        {"max_tokens": 12, "logprobs": 3},
    ],
    ids=["greedy", "top-p", "min-p", "stop", "logprobs"],
)
def test_stream_equals_completion_in_process(runtime: Runtime, client: Client, options: dict[str, object]) -> None:
    expected = runtime.generate(PROMPT, **options)
    stream = client.stream(PROMPT, **options)
    text = "".join(chunk.text for chunk in stream)
    got = stream.result()
    assert text == got.text == expected.text
    assert got.token_ids == expected.token_ids
    assert got.logprobs == expected.logprobs
    assert (got.finish_reason, got.prompt_tokens, got.completion_tokens, got.plan) == (
        expected.finish_reason,
        expected.prompt_tokens,
        expected.completion_tokens,
        expected.plan,
    )


def test_stream_comes_in_many_pieces_with_a_summary_at_the_end(channel: grpc.Channel) -> None:
    request = wire.GenerateRequest(text=PROMPT, sampling=wire.SamplingOptions(max_tokens=60))
    messages = list(HeteroServiceStub(channel).Generate(request))
    assert len(messages) > 5
    assert [message.HasField("summary") for message in messages] == [False] * (len(messages) - 1) + [True]
    summary = messages[-1].summary
    assert summary.finish_reason == wire.FINISH_REASON_LENGTH
    assert summary.usage.completion_tokens == sum(len(message.token_ids) for message in messages) == 60
    assert summary.timings.ttft_seconds > 0 and summary.timings.tokens_per_second > 0
    assert summary.plan.stages[0].device.name == "cpu"


def test_absent_sampling_options_are_the_defaults(channel: grpc.Channel, client: Client) -> None:
    messages = list(HeteroServiceStub(channel).Generate(wire.GenerateRequest(text=PROMPT)))
    expected = client.generate(PROMPT, SamplingParams())
    assert "".join(message.text for message in messages) == expected.text
    assert expected.completion_tokens == SamplingParams().max_tokens


def test_seed_that_was_drawn_gives_the_same_text_again(client: Client) -> None:
    first = client.generate(PROMPT, max_tokens=24, temperature=1.0)
    again = client.generate(PROMPT, max_tokens=24, temperature=1.0, seed=first.seed)
    other = client.generate(PROMPT, max_tokens=24, temperature=1.0, seed=first.seed + 1)
    assert again.text == first.text != other.text


def test_token_ids_give_what_their_text_gives(runtime: Runtime, client: Client) -> None:
    token_ids = runtime.tokenize(PROMPT)
    assert client.generate(token_ids, max_tokens=8).text == client.generate(PROMPT, max_tokens=8).text


def test_chat_gives_what_it_gives_in_process(runtime: Runtime, client: Client) -> None:
    messages = [{"role": "user", "content": "Tell me of a cat."}]
    assert client.generate(messages, max_tokens=8).text == runtime.generate(messages, max_tokens=8).text


def test_many_clients_at_once_each_get_their_own_text(client: Client) -> None:
    prompts = [f"{name} had a" for name in ("Lily", "Tom", "Ben", "Sue", "Max", "Anna", "Tim", "Mia", "Sam", "Zoe")]
    alone = [client.generate(prompt, max_tokens=24).text for prompt in prompts]
    with ThreadPoolExecutor(len(prompts)) as pool:
        together = list(pool.map(lambda prompt: client.generate(prompt, max_tokens=24).text, prompts))
    assert together == alone and len(set(alone)) > 1


def test_completion_ends_at_the_end_of_the_context(client: Client, runtime: Runtime) -> None:
    prompt = list(runtime.tokenize("a cat " * 100))
    got = client.generate(prompt, max_tokens=10_000, ignore_eos=True)
    assert got.finish_reason is FinishReason.LENGTH
    assert got.prompt_tokens + got.completion_tokens == client.info.context_tokens


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": -0.5}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"min_p": -0.1}, "min_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"seed": 2**63}, "seed"),
        ({"logprobs": 1000}, "logprobs"),
        ({"stop": [""]}, "stop"),
        ({"stop_token_ids": [512]}, "stop_token_ids"),
    ],
)
def test_sampling_out_of_range_names_the_field(client: Client, options: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"^{field} "):
        client.generate(PROMPT, **options)


@pytest.mark.parametrize("prompt", ["", [], [512]])
def test_prompt_that_is_none_is_refused(client: Client, prompt: str | list[int]) -> None:
    with pytest.raises(InvalidRequestError, match="prompt"):
        client.generate(prompt)


def test_prompt_longer_than_the_context_is_refused(client: Client) -> None:
    with pytest.raises(PromptTooLongError, match="512"):
        client.generate([5] * 512)


def test_request_without_a_prompt_is_refused(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(HeteroServiceStub(channel).Generate(wire.GenerateRequest()))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "no prompt" in caught.value.details()


def test_request_id_comes_back(channel: grpc.Channel) -> None:
    call = HeteroServiceStub(channel).GetModel.with_call(
        wire.GetModelRequest(), metadata=(("x-request-id", "order-17"),)
    )[1]
    assert ("x-request-id", "order-17") in tuple(call.initial_metadata())
    call = HeteroServiceStub(channel).GetModel.with_call(wire.GetModelRequest())[1]
    assert len(dict(call.initial_metadata())["x-request-id"]) == 32


def test_two_requests_may_have_one_request_id(client: Client) -> None:
    streams = [client.stream(PROMPT, max_tokens=16, request_id="same") for _ in range(2)]
    first, second = (stream.result().text for stream in streams)
    assert first == second


def test_model_plan_devices_and_reports_are_those_of_the_runtime(runtime: Runtime, client: Client) -> None:
    assert client.info == runtime.info
    assert client.plan == runtime.plan
    assert client.devices() == runtime.devices()
    assert client.reports == runtime.reports


def test_decoder_does_not_embed(client: Client) -> None:
    for call in (client.embed, client.classify):
        with pytest.raises(InvalidRequestError, match="is a decoder"):
            call(["a text"])
