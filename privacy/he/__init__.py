"""Linear layers and low-degree heads on CKKS ciphertexts: the tenant holds the key, the server never does.

`parameters` names what is secure enough, `packing` says where numbers lie in a ciphertext, `linear` and `model`
compute, `keys` and `client` are the tenant's side, `accept`, `worker` and `pool` the server's. The wire is `hetero`'s.
"""

from privacy.he.description import Description
from privacy.he.parameters import ParameterSet, named_parameters
from privacy.he.spec import ModelSpec, head_spec, linear_spec

__all__ = ["Description", "ModelSpec", "ParameterSet", "head_spec", "linear_spec", "named_parameters"]
