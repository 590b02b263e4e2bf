"""Small random checkpoints of every family, saved by `transformers` itself as real folders with a small tokenizer.

    folder = write_checkpoint("qwen3", tmp_path / "qwen3", num_hidden_layers=2)

`overrides` are keys of the family's `transformers` configuration, and `dtype="bfloat16"` stores in another type;
`shard_size="40KB"` writes several files with an index.
"""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

VOCABULARY = 320
TEXTS = [
    "Once upon a time there was a small grey cat who lived beside the river and dreamed of the sea.",
    "The engine schedules a batch, runs it, and returns the tokens; every token is streamed to its client.",
    "Was it the best of times? It was the worst of times, it was the age of wisdom and of foolishness.",
    "Numbers such as 0123456789, signs like (){}[]<>+-*/=, and letters: café, naïve, Zürich, 東京.",
]
DECODERS = ("llama", "smollm", "mistral", "qwen2", "qwen3", "gpt2")
ENCODERS = ("bert", "minilm", "roberta", "distilbert")
CLASSIFIERS = ("bert-classifier", "roberta-classifier", "distilbert-classifier")
FAMILIES = DECODERS + ENCODERS + CLASSIFIERS

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
_DECODER = _SIZES | {"num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_GPT2 = {"vocab_size": VOCABULARY, "n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": 256,
         "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
_DISTIL = {"vocab_size": VOCABULARY, "dim": 64, "hidden_dim": 128, "n_layers": 4, "n_heads": 4,
           "max_position_embeddings": 256, "pad_token_id": 0}  # fmt: skip
_BERT = _SIZES | {"pad_token_id": 0}
_ROBERTA = _SIZES | {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1,
                     "max_position_embeddings": 258}  # fmt: skip
_LABELS = {"num_labels": 3, "id2label": {0: "bad", 1: "fair", 2: "good"}}

#: Family to (configuration class, model class, settings).
_RECIPES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", _DECODER),
    "smollm": ("LlamaConfig", "LlamaForCausalLM", _DECODER | {"tie_word_embeddings": True}),
    "mistral": ("MistralConfig", "MistralForCausalLM", _DECODER | {"sliding_window": 40, "head_dim": 16}),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", _DECODER | {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", _DECODER | {"head_dim": 32}),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", _GPT2),
    "bert": ("BertConfig", "BertModel", _BERT),
    "minilm": ("BertConfig", "BertModel", _BERT | {"num_hidden_layers": 6, "hidden_size": 48}),
    "roberta": ("RobertaConfig", "RobertaModel", _ROBERTA),
    "distilbert": ("DistilBertConfig", "DistilBertModel", _DISTIL),
    "bert-classifier": ("BertConfig", "BertForSequenceClassification", _BERT | _LABELS),
    "roberta-classifier": ("RobertaConfig", "RobertaForSequenceClassification", _ROBERTA | _LABELS),
    "distilbert-classifier": ("DistilBertConfig", "DistilBertForSequenceClassification", _DISTIL | _LABELS),
}


def write_checkpoint(family: str, folder: Path, **overrides: Any) -> Path:
    """Write a random model of `family` (one of FAMILIES) into `folder`; the same arguments give the same weights."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    dtype, shard_size = overrides.pop("dtype", "float32"), overrides.pop("shard_size", "50GB")
    config_name, model_name, settings = _RECIPES[family]
    config = getattr(transformers, config_name)(**(settings | overrides))
    torch.manual_seed(FAMILIES.index(family))
    model = getattr(transformers, model_name)(config)
    _enliven(model)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard_size)
    write_tokenizer(family, folder)
    if family == "minilm":
        write_pooling(folder, "mean", normalized=True)
    return folder


def write_pooling(folder: Path, mode: str, normalized: bool) -> None:
    """The sentence-transformers files that say how a folder's model pools."""
    kinds = ["Transformer", "Pooling"] + ["Normalize"] * normalized
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    for module in modules[1:]:
        (folder / module["path"]).mkdir(exist_ok=True)
    size = json.loads((folder / "config.json").read_text())
    pooling = {"word_embedding_dimension": size.get("hidden_size") or size["dim"],
               "pooling_mode_cls_token": mode == "cls", "pooling_mode_mean_tokens": mode == "mean",
               "pooling_mode_max_tokens": mode == "max"}  # fmt: skip
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def write_tokenizer(family: str, folder: Path) -> None:
    """A tokenizer of at most VOCABULARY ids, trained on TEXTS, in the family's own style."""
    if family.startswith(("bert", "minilm", "distilbert")):
        tokenizer, special = _wordpiece(), {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]",
                                            "sep_token": "[SEP]", "mask_token": "[MASK]"}  # fmt: skip
    elif family.startswith("roberta"):
        tokenizer = _byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>",
                   "cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}  # fmt: skip
    else:
        tokenizer = _byte_level(["<pad>", "<s>", "</s>"])
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
        special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = special | {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 256}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _enliven(model: torch.nn.Module) -> None:
    """Random weights of a size that makes logits differ, and biases and norms that are not zeros and ones."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 1.2 * parameter.shape[-1] ** -0.5 if "embed" not in name else 0.5)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))


def _byte_level(special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def _wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=special))
    ends = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer
