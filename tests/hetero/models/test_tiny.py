"""The embedded model: its size, its card, and what it predicts at each exit, judged by transformers."""

import json
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from hetero.models.source import resolve

FOLDER = resolve("tiny")
HELD_OUT = Path(__file__).parents[2] / "data" / "tiny_held_out.txt"  # four texts, a form feed between two
SIZE_LIMIT_BYTES = 16_000_000
PROMPTS = ("ROMEO:", "In the beginning", "It was a")


@cache
def model() -> LlamaForCausalLM:
    return AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()


@cache
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(FOLDER)


@cache
def config() -> dict[str, object]:
    return json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))


@cache
def exit_logits() -> tuple[dict[int, torch.Tensor], torch.Tensor]:
    """Logits [N, V] after 2, 4 and 6 blocks, and the true next tokens [N], over the held-out texts."""
    logits: dict[int, list[torch.Tensor]] = {2: [], 4: [], 6: []}
    targets = []
    for text in HELD_OUT.read_text(encoding="utf-8").split("\f"):
        ids = tokenizer()(text, return_tensors="pt").input_ids
        with torch.no_grad():
            hidden = model().model(ids[:, :-1], output_hidden_states=True).hidden_states
            for blocks, parts in logits.items():
                state = hidden[blocks] if blocks == 6 else model().model.norm(hidden[blocks])
                parts.append(model().lm_head(state)[0])
        targets.append(ids[0, 1:])
    return {blocks: torch.cat(parts) for blocks, parts in logits.items()}, torch.cat(targets)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


@cache
def known_words() -> frozenset[str]:
    """Words that are one entry of the vocabulary (a space before them), and those of the held-out texts."""
    entries = (tokenizer().convert_tokens_to_string([token]) for token in tokenizer().get_vocab())
    whole = [word for entry in entries if entry.startswith(" ") and len(entry) > 3 for word in words(entry)]
    return frozenset(whole) | frozenset(words(HELD_OUT.read_text(encoding="utf-8")))


def sampled_words(writer: LlamaForCausalLM) -> list[str]:
    """All words of 100 sampled tokens after each prompt, less the last, which may be cut."""
    found: list[str] = []
    for prompt in PROMPTS:
        torch.manual_seed(1)
        inputs = tokenizer()(prompt, return_tensors="pt")
        ids = writer.generate(**inputs, max_new_tokens=100, do_sample=True, top_k=40, pad_token_id=0, eos_token_id=None)
        found += words(tokenizer().decode(ids[0], skip_special_tokens=True))[:-1]
    return found


def share_known(found: list[str]) -> float:
    return sum(word in known_words() for word in found) / len(found)


def card_row(name: str) -> str:
    """The value of a row `| name | value |` of the card."""
    row = re.search(rf"^\| {re.escape(name)} \| (.+?) \|$", (FOLDER / "CARD.md").read_text(encoding="utf-8"), re.M)
    assert row, f"the card has no row '{name}'"
    return row.group(1)


def number(text: str) -> float:
    return float(re.sub(r"[ ,%]", "", text))


def test_folder_fits_the_size_limit() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= SIZE_LIMIT_BYTES


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ("Blocks", "num_hidden_layers"),
        ("Hidden size", "hidden_size"),
        ("Intermediate size", "intermediate_size"),
        ("Attention heads", "num_attention_heads"),
        ("Key and value heads", "num_key_value_heads"),
        ("Head size", "head_dim"),
        ("Vocabulary", "vocab_size"),
        ("Context", "max_position_embeddings"),
    ],
)
def test_card_agrees_with_the_config(row: str, key: str) -> None:
    assert number(card_row(row)) == config()[key]


def test_card_agrees_with_the_weights_file() -> None:
    file = FOLDER / "model.safetensors"
    with safe_open(file, framework="pt") as weights:
        tensors = [weights.get_tensor(name) for name in weights.keys()]  # noqa: SIM118 - not a dict
    assert number(card_row("Weights file, bytes")) == file.stat().st_size
    assert number(card_row("Parameters")) == sum(tensor.numel() for tensor in tensors)
    assert {tensor.dtype for tensor in tensors} == {torch.float16}
    assert config()["dtype"] == card_row("Stored as") == "float16"
    assert all(bool(tensor.isfinite().all()) for tensor in tensors)


@pytest.mark.parametrize(("blocks", "bound"), [(2, 4.2), (4, 4.05), (6, 4.0)])
def test_loss_on_held_out_text_below_bound(blocks: int, bound: float) -> None:
    logits, targets = exit_logits()
    loss = float(cross_entropy(logits[blocks], targets))
    assert loss < bound
    assert loss == pytest.approx(number(card_row(f"Loss on the excerpt after {blocks} blocks")), abs=0.01)


@pytest.mark.parametrize(("blocks", "bound"), [(2, 0.6), (4, 0.75)])
def test_exit_agrees_with_the_last_layer_more_often_than_bound(blocks: int, bound: float) -> None:
    logits, _ = exit_logits()
    assert float((logits[blocks].argmax(-1) == logits[6].argmax(-1)).float().mean()) > bound


def test_deeper_exits_predict_better() -> None:
    logits, targets = exit_logits()
    losses = [float(cross_entropy(logits[blocks], targets)) for blocks in (2, 4, 6)]
    assert losses == sorted(losses, reverse=True)


def test_tokenizer_gives_back_the_text_and_adds_nothing() -> None:
    text = HELD_OUT.read_text(encoding="utf-8") + "naïve Ωμέγα 🙂\t{}\n"
    ids = tokenizer()(text).input_ids
    assert tokenizer().decode(ids) == text
    assert config()["eos_token_id"] not in ids
    assert max(ids) < config()["vocab_size"]


def test_plain_continuation_without_chat_template() -> None:
    assert tokenizer().chat_template is None
    assert tokenizer().eos_token_id == config()["eos_token_id"] == config()["bos_token_id"]


def test_sampled_text_is_words() -> None:
    found = sampled_words(model())
    assert share_known(found) > 0.8
    assert len(set(found)) > 0.3 * len(found)


def test_sampled_text_of_untrained_weights_is_not_words() -> None:
    torch.manual_seed(0)
    assert share_known(sampled_words(LlamaForCausalLM(model().config).eval())) < 0.6
