"""A GPU where there is none: tensors that claim to lie on one, computed on the CPU, and kept apart from the CPU's own.

Code for a GPU must move whatever it mixes, and takes other branches than on a CPU; both show here. What a GPU rounds
otherwise does not.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("meta")  # any type but cpu that needs no driver
MOVES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}


class There(Tensor):
    """A tensor that claims to lie on DEVICE; its values are those of `inside`."""

    inside: Tensor

    @staticmethod
    def __new__(cls, inside: Tensor) -> "There":
        layout = {"strides": inside.stride(), "storage_offset": inside.storage_offset()}
        made: There = Tensor._make_wrapper_subclass(cls, inside.size(), dtype=inside.dtype, device=DEVICE, **layout)
        made.inside = inside
        return made

    @classmethod
    def __torch_dispatch__(cls, operator: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        return _run(operator, given, named or {})


class _Machine(TorchDispatchMode):
    """Catches what is made on DEVICE from no tensor at all."""

    def __torch_dispatch__(self, operator: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        return _run(operator, given, named or {})


@contextmanager
def pretended_gpu() -> Iterator[torch.device]:
    """A device on which tensors can be made, moved and computed with, and on which those of the CPU are refused."""
    with _Machine():
        yield DEVICE


def _run(operator: Any, given: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """As a GPU does it: raises RuntimeError where more of the CPU's than single numbers meets what lies there."""
    operands = [leaf for leaf in tree_leaves((given, named)) if isinstance(leaf, Tensor)]
    there = any(isinstance(operand, There) for operand in operands)
    strange = any(operand.ndim and not isinstance(operand, There) for operand in operands)
    if there and strange and operator not in MOVES:
        raise RuntimeError(f"{operator} of tensors on a GPU and on the CPU")
    plain, options = tree_map_only(There, lambda one: one.inside, (tuple(given), dict(named)))
    if options.get("device") is not None:
        there, options["device"] = options["device"] == DEVICE, torch.device("cpu")
    result = operator(*plain, **options)
    if operator._schema.name.endswith("_"):  # in place
        return given[0]
    return tree_map_only(Tensor, There, result) if there else result
