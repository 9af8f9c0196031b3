"""The contract: a JSON text in an .onnx file's metadata that says what a consumer may rely on.

Format 2 calls `noise_distribution` what format 1 called `noise_law`. Files of both formats are read.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tasks.common.errors import UserError
from tasks.common.files import canonical

if TYPE_CHECKING:
    import onnx  # whoever reads contract.json alone does not load it

CONTRACT = "imagewright.contract"
FORMAT = 2

Contract = Mapping[str, Any]


def read_contract(model: "onnx.ModelProto", where: object = "the file") -> dict[str, Any]:
    """Returns the contract inside the file `where`, in the current format.

    Raises UserError where the file has none, or one that is damaged or of a later format.
    """
    texts = [entry.value for entry in model.metadata_props if entry.key == CONTRACT]
    if not texts:
        raise UserError(f"{where} carries no contract: it was cut short, or Imagewright did not make it; make it again")
    try:
        return upgraded(json.loads(texts[0]))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{where} carries a contract that was made by another version, or is damaged; get it again"
        ) from None


def upgraded(contract: Contract) -> dict[str, Any]:
    """Returns a contract of format 1 or 2 in format 2; raises ValueError for any other format."""
    if contract["format"] == FORMAT:
        return dict(contract)
    if contract["format"] != 1:
        raise ValueError(f"a contract of format {contract['format']}")
    others = {key: value for key, value in contract.items() if key != "noise_law"}
    return {**others, "format": FORMAT, "noise_distribution": contract.get("noise_law")}


def with_contract(model: "onnx.ModelProto", contract: Contract) -> "onnx.ModelProto":
    """Returns the model with this contract as its only metadata."""
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = CONTRACT, canonical(contract).decode()
    return model
