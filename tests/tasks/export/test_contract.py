"""The contract inside a file, in its current format and in the one before."""

import json
from typing import Any

import pytest
from onnx import TensorProto, helper

from tasks.common.errors import UserError
from tasks.export.contract import CONTRACT, FORMAT, read_contract, upgraded

EARLIER = {"format": 1, "model": "gan", "noise_law": "standard normal", "tolerance": 1e-5}


def model_with(text: str | None) -> Any:
    one, two = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in "xy")
    model = helper.make_model(helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "tiny", [one], [two]))
    helper.set_model_props(model, {} if text is None else {CONTRACT: text})
    return model


def test_a_contract_of_format_1_is_read_under_the_new_names() -> None:
    read = read_contract(model_with(json.dumps(EARLIER)))
    assert read == {"format": FORMAT, "model": "gan", "noise_distribution": "standard normal", "tolerance": 1e-5}
    assert upgraded(read) == read


@pytest.mark.parametrize("text", [json.dumps(EARLIER | {"format": 3}), "{", "[]", '{"model": "gan"}'])
def test_a_damaged_or_later_contract_is_one_sentence(text: str) -> None:
    with pytest.raises(UserError, match=r"gan\.onnx carries a contract .* another version, or is damaged"):
        read_contract(model_with(text), "gan.onnx")


def test_a_file_without_a_contract_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"gan\.onnx carries no contract"):
        read_contract(model_with(None), "gan.onnx")
