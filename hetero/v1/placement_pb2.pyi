from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeviceKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEVICE_KIND_UNSPECIFIED: _ClassVar[DeviceKind]
    DEVICE_KIND_CPU: _ClassVar[DeviceKind]
    DEVICE_KIND_GPU: _ClassVar[DeviceKind]
    DEVICE_KIND_NPU: _ClassVar[DeviceKind]
DEVICE_KIND_UNSPECIFIED: DeviceKind
DEVICE_KIND_CPU: DeviceKind
DEVICE_KIND_GPU: DeviceKind
DEVICE_KIND_NPU: DeviceKind

class Device(_message.Message):
    __slots__ = ("name", "kind", "engines", "precisions", "memory_bytes", "description", "emulated", "static_shapes", "node", "node_id", "cores")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    PRECISIONS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    EMULATED_FIELD_NUMBER: _ClassVar[int]
    STATIC_SHAPES_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    CORES_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: DeviceKind
    engines: _containers.RepeatedScalarFieldContainer[str]
    precisions: _containers.RepeatedScalarFieldContainer[str]
    memory_bytes: int
    description: str
    emulated: bool
    static_shapes: bool
    node: str
    node_id: str
    cores: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[DeviceKind, str]] = ..., engines: _Optional[_Iterable[str]] = ..., precisions: _Optional[_Iterable[str]] = ..., memory_bytes: _Optional[int] = ..., description: _Optional[str] = ..., emulated: _Optional[bool] = ..., static_shapes: _Optional[bool] = ..., node: _Optional[str] = ..., node_id: _Optional[str] = ..., cores: _Optional[_Iterable[int]] = ...) -> None: ...

class Stage(_message.Message):
    __slots__ = ("device", "engine", "first", "last", "precision", "predicted_seconds")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    device: Device
    engine: str
    first: int
    last: int
    precision: str
    predicted_seconds: float
    def __init__(self, device: _Optional[_Union[Device, _Mapping]] = ..., engine: _Optional[str] = ..., first: _Optional[int] = ..., last: _Optional[int] = ..., precision: _Optional[str] = ..., predicted_seconds: _Optional[float] = ...) -> None: ...

class EncryptedStage(_message.Message):
    __slots__ = ("device", "layer", "parameters", "predicted_seconds", "client_seconds", "sent_bytes", "answered_bytes")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_BYTES_FIELD_NUMBER: _ClassVar[int]
    device: Device
    layer: str
    parameters: str
    predicted_seconds: float
    client_seconds: float
    sent_bytes: int
    answered_bytes: int
    def __init__(self, device: _Optional[_Union[Device, _Mapping]] = ..., layer: _Optional[str] = ..., parameters: _Optional[str] = ..., predicted_seconds: _Optional[float] = ..., client_seconds: _Optional[float] = ..., sent_bytes: _Optional[int] = ..., answered_bytes: _Optional[int] = ...) -> None: ...

class Plan(_message.Message):
    __slots__ = ("stages", "reason", "encrypted")
    STAGES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTED_FIELD_NUMBER: _ClassVar[int]
    stages: _containers.RepeatedCompositeFieldContainer[Stage]
    reason: str
    encrypted: _containers.RepeatedCompositeFieldContainer[EncryptedStage]
    def __init__(self, stages: _Optional[_Iterable[_Union[Stage, _Mapping]]] = ..., reason: _Optional[str] = ..., encrypted: _Optional[_Iterable[_Union[EncryptedStage, _Mapping]]] = ...) -> None: ...

class SliceReport(_message.Message):
    __slots__ = ("engine", "engine_version", "device", "precision", "weight_bytes", "kv_bytes", "compile_seconds")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_BYTES_FIELD_NUMBER: _ClassVar[int]
    KV_BYTES_FIELD_NUMBER: _ClassVar[int]
    COMPILE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    engine: str
    engine_version: str
    device: str
    precision: str
    weight_bytes: int
    kv_bytes: int
    compile_seconds: float
    def __init__(self, engine: _Optional[str] = ..., engine_version: _Optional[str] = ..., device: _Optional[str] = ..., precision: _Optional[str] = ..., weight_bytes: _Optional[int] = ..., kv_bytes: _Optional[int] = ..., compile_seconds: _Optional[float] = ...) -> None: ...
