"""What the models of the policy's file are made of: strictness, and the kinds of text that values are."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class Strict(BaseModel):
    """Unknown keys are refused, no value is turned into another type, and numbers are finite."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


#: A name that can be part of an account's or a log's line: no slash, no space, nothing that a shell would change.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$")]
#: A model's name may be a hub id, or a folder's path.
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~/][A-Za-z0-9._@/ ~-]{0,255}$")]
#: A name that the policy declares, or `any` for all of them.
Reference = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~/][A-Za-z0-9._@/ ~-]{0,255}$")]
#: A mechanism's parameter.
Parameter = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
#: No mechanism has a parameter below 0, nor one that is sensible beyond this bound.
ParameterValue = Annotated[float, Field(ge=0, le=1e9)]
FileName = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,1024}$")]
#: One line for people.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,512}$")]
