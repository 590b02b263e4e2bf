"""Tokenizers against `transformers`: ids, text, padding, chat templates, and damaged files."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hetero.errors import InvalidRequestError, ModelError, PromptTooLongError
from hetero.models.tokenizer import CHARACTERS_PER_TOKEN, Tokenizer

Checkpoints = Callable[..., Path]
TEXTS = ["Once upon a time", "", "  two  spaces\n", "café, Zürich, 東京 🎈", "<s> and [SEP] in a text", "a" * 300]
TEMPLATE = """{%- for message in messages %}
    {%- if message.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}
{{ bos_token if loop.first }}<|{{ message.role }}|>
{% generation %}{{ message.content | trim }}{% endgeneration %}{{ eos_token }}
{%- if loop.index > 5 %}{% break %}{% endif %}
{% endfor %}{% if add_generation_prompt %}<|assistant|>{{ {'a': 'é<'} | tojson }}{% endif %}"""
CONVERSATION = [{"role": "user", "content": " Hello "}, {"role": "assistant", "content": "Hi"},
                {"role": "user", "content": "Bye"}]  # fmt: skip


def _theirs(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("family", ["llama", "roberta", "bert"])
def test_tokenizer_ids_and_text_equal_transformers(family: str, checkpoint: Checkpoints) -> None:
    ours, theirs = Tokenizer(checkpoint(family)), _theirs(checkpoint(family))
    for text in TEXTS:
        ids = ours.encode(text)
        assert ids == theirs.encode(text)
        assert ours.encode(text, special_tokens=False) == theirs.encode(text, add_special_tokens=False)
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert ours.vocabulary_size == len(theirs)


def test_tokenizer_of_trained_models_equals_transformers(stories260k: Path, minilm: Path) -> None:
    for folder in (stories260k, minilm):
        ours, theirs = Tokenizer(folder), _theirs(folder)
        assert [ours.encode(text) for text in TEXTS] == [theirs.encode(text) for text in TEXTS]


@pytest.mark.parametrize("family", ["bert", "roberta", "llama"])
def test_tokenizer_padded_batch_equals_transformers(family: str, checkpoint: Checkpoints) -> None:
    found = Tokenizer(checkpoint(family)).encode_batch_padded(TEXTS, 20)
    wanted = _theirs(checkpoint(family))(
        TEXTS, padding=True, truncation=True, max_length=20, return_token_type_ids=True, return_tensors="np"
    )
    for array, name in zip(found, ("input_ids", "attention_mask", "token_type_ids"), strict=True):
        assert array.dtype == np.int64
        np.testing.assert_array_equal(array, wanted[name])


def test_tokenizer_padded_batches_from_many_threads_do_not_mix_lengths(checkpoint: Checkpoints) -> None:
    tokenizer = Tokenizer(checkpoint("bert"))
    lengths = [4 + i % 20 for i in range(200)]
    with ThreadPoolExecutor(8) as pool:
        shapes = list(pool.map(lambda n: tokenizer.encode_batch_padded(["river sea cat " * 40], n)[0].shape, lengths))
    assert shapes == [(1, n) for n in lengths]


@pytest.mark.parametrize(
    "text", ["river sea cat " * 2000, " " * 9000 + "river sea " * 90, "river" * 4000 + " sea" * 90]
)
def test_tokenizer_cuts_long_texts_as_if_it_had_read_them_whole(text: str, checkpoint: Checkpoints) -> None:
    for family in ("bert", "roberta"):
        ours = Tokenizer(checkpoint(family)).encode_batch_padded(["cat", text, "sea"], 24)[0]
        theirs = _theirs(checkpoint(family))(text, truncation=True, max_length=24)["input_ids"]
        assert ours[1].tolist()[: len(theirs)] == theirs


def test_tokenizer_reads_no_more_of_a_text_than_is_kept(
    checkpoint: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, read = Tokenizer(checkpoint("bert")), []
    checked = Tokenizer._checked

    def counted(texts: list[str], *others: Any) -> Any:
        read.append(sum(map(len, texts)))
        return checked(texts, *others)

    monkeypatch.setattr(Tokenizer, "_checked", staticmethod(counted))
    tokenizer.encode_batch_padded(["river sea " * 100_000], 24)
    assert sum(read) <= 24 * CHARACTERS_PER_TOKEN


def test_tokenizer_refuses_a_text_that_no_context_could_hold(checkpoint: Checkpoints) -> None:
    tokenizer = Tokenizer(checkpoint("llama"))
    longest = max(map(len, tokenizer._raw.get_vocab()))
    assert len(tokenizer.encode("Once " * 70, most_tokens=64)) > 64
    for encode in (tokenizer.encode, lambda text, most_tokens: tokenizer.encode_chat([_turn(text)], most_tokens)):
        with pytest.raises(PromptTooLongError, match="too many for 64 tokens"):
            encode("a" * (64 * longest + 1), most_tokens=64)


def _turn(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


@pytest.mark.parametrize("wanted", [True, False])
def test_tokenizer_file_decides_on_ends_before_its_settings(
    wanted: bool, checkpoint: Checkpoints, tmp_path: Path
) -> None:
    folder = _with_settings(checkpoint("llama"), tmp_path, add_bos_token=wanted, add_eos_token=wanted)
    assert Tokenizer(folder).encode("Once") == _theirs(folder).encode("Once") == [1, 310, 319]


def _with_settings(folder: Path, target: Path, **settings: Any) -> Path:
    copy = Path(shutil.copytree(folder, target / "copy"))
    path = copy / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return copy


@pytest.mark.parametrize("form", ["setting", "list", "file"])
def test_tokenizer_chat_template_equals_transformers(form: str, checkpoint: Checkpoints, tmp_path: Path) -> None:
    settings: dict[str, Any] = {}
    if form != "file":
        named = [{"name": "default", "template": TEMPLATE}, {"name": "tool_use", "template": "no"}]
        settings = {"chat_template": TEMPLATE if form == "setting" else named}
    folder = _with_settings(checkpoint("llama"), tmp_path, **settings)
    if form == "file":
        (folder / "chat_template.jinja").write_text(TEMPLATE)
    ours, theirs = Tokenizer(folder), _theirs(folder)
    wanted = theirs.apply_chat_template(CONVERSATION, tokenize=False, add_generation_prompt=True)
    assert ours.has_chat_template
    assert ours.chat(CONVERSATION) == wanted
    assert ours.encode_chat(CONVERSATION) == theirs.encode(wanted, add_special_tokens=False)


def test_tokenizer_chat_template_gets_every_named_token_as_in_transformers(
    checkpoint: Checkpoints, tmp_path: Path
) -> None:
    template = "{{ bos_token }}{{ unk_token }}/{{ eot_token }}/{{ messages[0].content }}{{ eos_token }}"
    folder = _with_settings(checkpoint("llama"), tmp_path, chat_template=template, unk_token="</s>", eot_token="<pad>")
    path = folder / "tokenizer_config.json"
    values = {name: value for name, value in json.loads(path.read_text()).items() if name != "bos_token"}
    path.write_text(json.dumps(values))
    (folder / "special_tokens_map.json").write_text(json.dumps({"bos_token": {"content": "<s>"}}))
    ours, theirs = Tokenizer(folder), _theirs(folder)
    wanted = theirs.apply_chat_template(CONVERSATION, tokenize=False)
    assert ours.chat(CONVERSATION) == wanted == "<s></s>/<pad>/ Hello </s>"


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ([{"name": "rag", "template": "x"}, {"name": "tool_use", "template": "y"}], "none is named default"),
        ("{{ messages[0].content.index('zebra') }}", "substring not found"),
        ("{{ 1 // 0 }}", "by zero"),
    ],
)
def test_tokenizer_chat_template_that_fails_is_one_clear_refusal(
    template: Any, named: str, checkpoint: Checkpoints, tmp_path: Path
) -> None:
    tokenizer = Tokenizer(_with_settings(checkpoint("llama"), tmp_path, chat_template=template))
    with pytest.raises(InvalidRequestError, match=f"chat template does not take this conversation: .*{named}"):
        tokenizer.encode_chat(CONVERSATION)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("bert", {"tokenizer_class": "BertTokenizer", "do_lower_case": False}),
        ("bert", {"tokenizer_class": "BertTokenizerFast", "strip_accents": False}),
        ("distilbert", {"tokenizer_class": None, "do_lower_case": False, "tokenize_chinese_chars": False}),
        ("bert", {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False}),
        ("roberta", {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True}),
        ("gpt2", {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True, "unk_token": "<pad>"}),
    ],
)
def test_tokenizer_class_counts_before_the_file_where_it_does_in_transformers(
    family: str, settings: dict[str, Any], checkpoint: Checkpoints, tmp_path: Path
) -> None:
    folder = _with_settings(checkpoint(family), tmp_path, **settings)
    ours, theirs = Tokenizer(folder), _theirs(folder)
    for text in [*TEXTS, "The CAT, Café"]:
        assert ours.encode(text) == theirs.encode(text)


def test_tokenizer_chat_template_that_refuses_is_the_callers_error(checkpoint: Checkpoints, tmp_path: Path) -> None:
    tokenizer = Tokenizer(_with_settings(checkpoint("llama"), tmp_path, chat_template=TEMPLATE))
    with pytest.raises(InvalidRequestError, match="no system here"):
        tokenizer.chat([{"role": "system", "content": "x"}])


def test_tokenizer_chat_template_runs_in_a_sandbox(checkpoint: Checkpoints, tmp_path: Path) -> None:
    hostile = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    tokenizer = Tokenizer(_with_settings(checkpoint("llama"), tmp_path, chat_template=hostile))
    with pytest.raises(InvalidRequestError, match="unsafe"):
        tokenizer.chat(CONVERSATION)


def test_tokenizer_without_template_joins_plain_lines(checkpoint: Checkpoints) -> None:
    tokenizer = Tokenizer(checkpoint("llama"))
    text = "user:  Hello \nassistant: Hi\nuser: Bye\nassistant:"
    assert not tokenizer.has_chat_template
    assert tokenizer.chat(CONVERSATION) == text
    assert tokenizer.encode_chat(CONVERSATION) == tokenizer.encode(text)


def test_tokenizer_refuses_lone_surrogates(checkpoint: Checkpoints) -> None:
    with pytest.raises(InvalidRequestError, match="not valid Unicode"):
        Tokenizer(checkpoint("llama")).encode("bad \ud800 text")


def test_tokenizer_is_made_from_older_vocabulary_files(minilm: Path, tmp_path: Path) -> None:
    for name in ("vocab.txt", "tokenizer_config.json", "config.json", "special_tokens_map.json"):
        shutil.copy(minilm / name, tmp_path)
    assert Tokenizer(tmp_path).encode("the river") == Tokenizer(minilm).encode("the river")


@pytest.mark.parametrize("content", [None, b"{}", b"{", b"\xff"])
def test_tokenizer_missing_or_damaged_file_is_refused(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        Tokenizer(tmp_path)


def test_tokenizer_leaves_out_ids_that_it_does_not_know(checkpoint: Checkpoints) -> None:
    tokenizer = Tokenizer(checkpoint("llama"))
    assert tokenizer.decode([310, 99_999, 319]) == tokenizer.decode([310, 319])
