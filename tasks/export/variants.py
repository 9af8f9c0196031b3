"""Makes the variants of a float32 file from its graph: float16 inside, pixels as bytes, a fixed batch size.

They are `gan.float16.onnx`, `gan.uint8.onnx` and `gan.batch16.onnx` for `gan.onnx`, with the same inputs. Equal weights
give equal bytes.
"""

import logging
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from tasks.common.params import ExportSettings, Variant
from tasks.export.contract import Contract, with_contract

STEP = 1  # of 255: the tolerance of a uint8 pixel against the rounded float64 one


def make_variants(model: onnx.ModelProto, contract: Contract, settings: ExportSettings) -> dict[str, onnx.ModelProto]:
    """Returns the variants of `export.variants` by file name; uint8 only where the only output are images."""
    makers, variants = {"float16": to_float16, "uint8": to_uint8, "static": to_static}, {}
    for variant in settings.variants:
        if variant != "uint8" or [output["name"] for output in contract["outputs"]] == ["image"]:
            changed = _changed(contract, variant, settings)
            variants[changed["file"]] = with_contract(makers[variant](model, settings), changed)
    return variants


def to_float16(model: onnx.ModelProto, _: ExportSettings) -> onnx.ModelProto:
    """Returns the model with weights and activations in float16, and inputs and outputs in float32.

    No graph of this project makes a discrete choice from noise, which float16 could change: labels are integers, and
    the prior of the codes is continuous.
    """
    logging.getLogger("onnxruntime.transformers.float16").setLevel(logging.ERROR)  # it warns of tiny weights
    plain = _copy(model)
    del plain.graph.value_info[:]  # is inferred again; its entries of constants would be cast once per use
    converted = OnnxModel(convert_float_to_float16(plain, keep_io_types=True))  # type: ignore[no-untyped-call]
    converted.topological_sort()  # type: ignore[no-untyped-call] # the casts of inputs are last
    made: onnx.ModelProto = converted.model
    return made


def to_uint8(model: onnx.ModelProto, _: ExportSettings) -> onnx.ModelProto:
    """Returns the model with images as uint8 [N, H, W, C] in 0 to 255: the clipped * 255, rounded half to even."""
    made = _copy(model)
    [output] = made.graph.output
    shape = output.type.tensor_type.shape
    channels, height, width = (size.dim_value for size in shape.dim[1:])
    inner, scale = "image_unit", numpy_helper.from_array(np.array(255, np.float32), "image_scale")
    last = next(node for node in made.graph.node if output.name in node.output)
    last.output[list(last.output).index(output.name)] = inner
    made.graph.initializer.append(scale)
    made.graph.node.extend(
        [
            helper.make_node("Mul", [inner, scale.name], ["image_scaled"], "image_scale"),
            helper.make_node("Round", ["image_scaled"], ["image_rounded"], "image_round"),
            helper.make_node("Cast", ["image_rounded"], ["image_bytes"], "image_cast", to=TensorProto.UINT8),
            helper.make_node("Transpose", ["image_bytes"], [output.name], "image_transpose", perm=[0, 2, 3, 1]),
        ]
    )
    batch = shape.dim[0].dim_param
    output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.UINT8, [batch, height, width, channels]))
    return made


def to_static(model: onnx.ModelProto, settings: ExportSettings) -> onnx.ModelProto:
    """Returns the model with a batch of `export.static_batch` and every size fixed, as a CUDA graph needs it."""
    made = _copy(model)
    del made.graph.value_info[:]
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = settings.static_batch
    return shape_inference.infer_shapes(made, strict_mode=True, data_prop=True)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _changed(contract: Contract, variant: Variant, settings: ExportSettings) -> dict[str, Any]:
    """Returns the contract of a variant, from that of the float32 file."""
    name = f"batch{settings.static_batch}" if variant == "static" else variant
    changes: dict[str, Any] = {"file": f"{Path(contract['file']).stem}.{name}.onnx", "variant": variant}
    match variant:
        case "float16":
            changes["tolerance"] = settings.tolerance_float16
        case "uint8":
            [image] = contract["outputs"]
            number, channels, height, width = image["shape"]
            bytes_ = {"dtype": "uint8", "shape": [number, height, width, channels], "layout": "NHWC"}
            changes |= {"outputs": [image | bytes_], "range": [0, 255], "tolerance": STEP}
        case "static":
            for side in ("inputs", "outputs"):
                changes[side] = [one | {"shape": [settings.static_batch, *one["shape"][1:]]} for one in contract[side]]
        case _:
            assert_never(variant)
    return {**contract, **changes}
