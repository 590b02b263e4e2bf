from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListBudgetsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListBudgetsResponse(_message.Message):
    __slots__ = ("budgets", "policy_revision")
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    POLICY_REVISION_FIELD_NUMBER: _ClassVar[int]
    budgets: _containers.RepeatedCompositeFieldContainer[Budget]
    policy_revision: str
    def __init__(self, budgets: _Optional[_Iterable[_Union[Budget, _Mapping]]] = ..., policy_revision: _Optional[str] = ...) -> None: ...

class Budget(_message.Message):
    __slots__ = ("account", "lifetime", "cap", "spent", "delta")
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    LIFETIME_FIELD_NUMBER: _ClassVar[int]
    CAP_FIELD_NUMBER: _ClassVar[int]
    SPENT_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    account: str
    lifetime: str
    cap: float
    spent: float
    delta: float
    def __init__(self, account: _Optional[str] = ..., lifetime: _Optional[str] = ..., cap: _Optional[float] = ..., spent: _Optional[float] = ..., delta: _Optional[float] = ...) -> None: ...
