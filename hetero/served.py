"""What a server serves: a running model, or heads alone, under the name that clients and policies know it by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn, Protocol

from adaptive.modes import AdaptiveChoice
from hetero.backends.base import SliceReport
from hetero.batch import FloatArray
from hetero.encoding import Vectors
from hetero.engine.requests import Sink
from hetero.engine.settings import EngineStats
from hetero.errors import InvalidRequestError
from hetero.heads import Head
from hetero.models.config import DecoderConfig, EncoderConfig
from hetero.models.config_reader import read_config
from hetero.models.source import resolve
from hetero.prompts import Prompt
from hetero.types import ModelInfo, SamplingParams
from placement.encrypted import at_client
from placement.types import Device, EncryptedStage, Plan

if TYPE_CHECKING:
    from hetero.document_answers import DocumentAnswers


class Model(Protocol):
    """What a server needs of a `Runtime`."""

    model: str

    @property
    def info(self) -> ModelInfo: ...
    @property
    def plan(self) -> Plan: ...
    @property
    def reports(self) -> tuple[SliceReport, ...]: ...
    def devices(self) -> tuple[Device, ...]: ...
    def stats(self) -> EngineStats: ...
    def tokenize(self, prompt: Prompt) -> tuple[int, ...]: ...
    def submit(
        self,
        request_id: str,
        token_ids: tuple[int, ...],
        sampling: SamplingParams,
        sink: Sink,
        deadline_seconds: float | None = None,
        adaptive: AdaptiveChoice | None = None,
    ) -> None: ...
    def cancel(self, request_id: str) -> None: ...
    def submit_embedding(self, texts: Sequence[str]) -> Vectors: ...
    def submit_classification(self, texts: Sequence[str], adaptive: AdaptiveChoice | None = None) -> Vectors: ...


@dataclass(frozen=True, slots=True)
class Served:
    """A model, its name ("": as it was asked for), heads by their names, its layers on ciphertexts, and documents."""

    model: Model
    served_name: str = ""
    heads: Mapping[str, Head] = field(default_factory=dict)
    encrypted: tuple[EncryptedStage, ...] = ()
    #: Answers what a policy lets be asked about private documents.
    documents: "DocumentAnswers | None" = None

    @property
    def name(self) -> str:
        return self.served_name or self.model.model

    @property
    def info(self) -> ModelInfo:
        """The model as clients see it; a head's labels stand for those that the model has not."""
        info = self.model.info
        return replace(info, name=self.name, labels=self.labels)

    @property
    def plan(self) -> Plan:
        """The model's plan, and what follows it on ciphertexts; blocks that do not run here are the client's."""
        plan = self.model.plan
        stages = plan.stages or ((at_client(self.model.info.block_count),) if self.encrypted else ())
        return replace(plan, stages=stages, encrypted=self.encrypted)

    @property
    def labels(self) -> tuple[str, ...]:
        """What `Classify` chooses among: the model's own labels, or those of the only head."""
        own = self.model.info.labels
        return own or (next(iter(self.heads.values())).labels if len(self.heads) == 1 else ())

    def head(self, name: str) -> Head:
        """The head of that name, the only one for "". Raises InvalidRequestError."""
        if not name and len(self.heads) == 1:
            return next(iter(self.heads.values()))
        if name not in self.heads:
            there = ", ".join(sorted(self.heads)) or "none"
            raise InvalidRequestError(f"there is no head {name!r}; there are: {there}")
        return self.heads[name]

    def class_logits(self, rows: FloatArray) -> FloatArray:
        """Class logits [N, C] from what `submit_texts` gave: they are already, or a head makes them of vectors."""
        return rows if self.model.info.labels else self.head("").scores(rows)

    def submit_texts(self, texts: Sequence[str], adaptive: AdaptiveChoice | None = None) -> Vectors:
        """Class logits, or the vectors that a head is applied to."""
        with_head = self.labels and not self.model.info.labels
        return self.model.submit_embedding(texts) if with_head else self.model.submit_classification(texts, adaptive)


class VectorsOnly:
    """Stands for a model that is not run: the server takes vectors or ciphertexts, and no text can reach it.

    Raises ModelError where the model's folder cannot be read.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self._config = read_config(resolve(model))

    @property
    def info(self) -> ModelInfo:
        from hetero import __version__

        config = self._config
        labels = config.labels if isinstance(config, EncoderConfig) else ()
        kind: Literal["decoder", "encoder"] = "decoder" if isinstance(config, DecoderConfig) else "encoder"
        shape = config.block_count, config.hidden_size, config.vocabulary_size, config.max_context
        return ModelInfo(self.model, kind, config.family, *shape, labels, __version__)

    plan = Plan((), "the model is not run here: only vectors or ciphertexts may come")
    reports: tuple[SliceReport, ...] = ()

    def devices(self) -> tuple[Device, ...]:
        return ()

    def stats(self) -> EngineStats:
        return EngineStats()

    def tokenize(self, prompt: Prompt) -> tuple[int, ...]:
        self._refuse()

    def submit(
        self,
        request_id: str,
        token_ids: tuple[int, ...],
        sampling: SamplingParams,
        sink: Sink,
        deadline_seconds: float | None = None,
        adaptive: AdaptiveChoice | None = None,
    ) -> None:
        self._refuse()

    def cancel(self, request_id: str) -> None:
        """There is nothing to cancel."""

    def submit_embedding(self, texts: Sequence[str]) -> Vectors:
        self._refuse()

    def submit_classification(self, texts: Sequence[str], adaptive: AdaptiveChoice | None = None) -> Vectors:
        self._refuse()

    def __enter__(self) -> "VectorsOnly":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was started."""

    def _refuse(self) -> NoReturn:
        raise InvalidRequestError(f"{self.model} is not run on this server; send vectors that you computed yourself")


def load_heads(folders: Sequence[Path], model: str) -> dict[str, Head]:
    """The heads of these folders by the folders' names. Raises ModelError where one is broken or of another model."""
    from hetero.heads import load_head

    return {folder.name: load_head(folder, resolve(model)) for folder in folders}
