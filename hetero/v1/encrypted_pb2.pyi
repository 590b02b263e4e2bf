from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListEncryptedModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListEncryptedModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[EncryptedModel]
    def __init__(self, models: _Optional[_Iterable[_Union[EncryptedModel, _Mapping]]] = ...) -> None: ...

class EncryptedModel(_message.Message):
    __slots__ = ("name", "digest", "kind", "parameters", "taken", "given", "rotations", "relinearise", "norm_bound", "label_count", "queries_per_epoch", "epoch_seconds", "statement", "encoder", "queries_left", "seconds_per_ciphertext")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    GIVEN_FIELD_NUMBER: _ClassVar[int]
    ROTATIONS_FIELD_NUMBER: _ClassVar[int]
    RELINEARISE_FIELD_NUMBER: _ClassVar[int]
    NORM_BOUND_FIELD_NUMBER: _ClassVar[int]
    LABEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    QUERIES_PER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    EPOCH_SECONDS_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    ENCODER_FIELD_NUMBER: _ClassVar[int]
    QUERIES_LEFT_FIELD_NUMBER: _ClassVar[int]
    SECONDS_PER_CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    name: str
    digest: str
    kind: str
    parameters: str
    taken: SlotLayout
    given: SlotLayout
    rotations: _containers.RepeatedScalarFieldContainer[int]
    relinearise: bool
    norm_bound: float
    label_count: int
    queries_per_epoch: int
    epoch_seconds: float
    statement: str
    encoder: str
    queries_left: int
    seconds_per_ciphertext: float
    def __init__(self, name: _Optional[str] = ..., digest: _Optional[str] = ..., kind: _Optional[str] = ..., parameters: _Optional[str] = ..., taken: _Optional[_Union[SlotLayout, _Mapping]] = ..., given: _Optional[_Union[SlotLayout, _Mapping]] = ..., rotations: _Optional[_Iterable[int]] = ..., relinearise: _Optional[bool] = ..., norm_bound: _Optional[float] = ..., label_count: _Optional[int] = ..., queries_per_epoch: _Optional[int] = ..., epoch_seconds: _Optional[float] = ..., statement: _Optional[str] = ..., encoder: _Optional[str] = ..., queries_left: _Optional[int] = ..., seconds_per_ciphertext: _Optional[float] = ...) -> None: ...

class SlotLayout(_message.Message):
    __slots__ = ("slots", "rows", "columns", "copies", "share", "period", "lane", "rows_each")
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    PERIOD_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    ROWS_EACH_FIELD_NUMBER: _ClassVar[int]
    slots: int
    rows: int
    columns: int
    copies: int
    share: int
    period: int
    lane: int
    rows_each: int
    def __init__(self, slots: _Optional[int] = ..., rows: _Optional[int] = ..., columns: _Optional[int] = ..., copies: _Optional[int] = ..., share: _Optional[int] = ..., period: _Optional[int] = ..., lane: _Optional[int] = ..., rows_each: _Optional[int] = ...) -> None: ...

class GetLabelsRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetLabelsResponse(_message.Message):
    __slots__ = ("labels",)
    LABELS_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, labels: _Optional[_Iterable[str]] = ...) -> None: ...

class FindKeysRequest(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: str
    def __init__(self, digest: _Optional[str] = ...) -> None: ...

class FindKeysResponse(_message.Message):
    __slots__ = ("found",)
    FOUND_FIELD_NUMBER: _ClassVar[int]
    found: bool
    def __init__(self, found: _Optional[bool] = ...) -> None: ...

class UploadKeysRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: KeysHeader
    chunk: bytes
    def __init__(self, header: _Optional[_Union[KeysHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class KeysHeader(_message.Message):
    __slots__ = ("parameters", "digest", "context_bytes", "galois_bytes", "relinearisation_bytes")
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_BYTES_FIELD_NUMBER: _ClassVar[int]
    GALOIS_BYTES_FIELD_NUMBER: _ClassVar[int]
    RELINEARISATION_BYTES_FIELD_NUMBER: _ClassVar[int]
    parameters: str
    digest: str
    context_bytes: int
    galois_bytes: int
    relinearisation_bytes: int
    def __init__(self, parameters: _Optional[str] = ..., digest: _Optional[str] = ..., context_bytes: _Optional[int] = ..., galois_bytes: _Optional[int] = ..., relinearisation_bytes: _Optional[int] = ...) -> None: ...

class UploadKeysResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EncryptedRequest(_message.Message):
    __slots__ = ("header", "ciphertext")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    header: EncryptedHeader
    ciphertext: bytes
    def __init__(self, header: _Optional[_Union[EncryptedHeader, _Mapping]] = ..., ciphertext: _Optional[bytes] = ...) -> None: ...

class EncryptedHeader(_message.Message):
    __slots__ = ("model", "keys", "digest", "ciphertexts")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    keys: str
    digest: str
    ciphertexts: int
    def __init__(self, model: _Optional[str] = ..., keys: _Optional[str] = ..., digest: _Optional[str] = ..., ciphertexts: _Optional[int] = ...) -> None: ...

class EncryptedResponse(_message.Message):
    __slots__ = ("number", "answers", "receipt", "padding")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    number: int
    answers: _containers.RepeatedScalarFieldContainer[bytes]
    receipt: bytes
    padding: bytes
    def __init__(self, number: _Optional[int] = ..., answers: _Optional[_Iterable[bytes]] = ..., receipt: _Optional[bytes] = ..., padding: _Optional[bytes] = ...) -> None: ...
