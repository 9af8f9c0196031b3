"""The files that ship beside a float32 one, made of its graph: float16 inside, pixels as bytes, a fixed batch.

`gan.onnx` gives `gan.float16.onnx`, `gan.uint8.onnx` and `gan.batch16.onnx`. Each takes what the float32 file takes.
Equal weights give equal bytes.
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

STEP = 1  # of 255, that a byte may be away from the one rounded from float64


def make_variants(model: onnx.ModelProto, contract: Contract, settings: ExportSettings) -> dict[str, onnx.ModelProto]:
    """The variants that `export.variants` asks for of a float32 file, by file name; uint8 only of what gives images."""
    made = {}
    for variant in settings.variants:
        if variant != "uint8" or gives_images(contract):
            changed = _changed(contract, variant, settings)
            made[changed["file"]] = with_contract(_MAKE[variant](model, settings), changed)
    return made


def gives_images(contract: Contract) -> bool:
    """Whether the file's only output are images."""
    return [output["name"] for output in contract["outputs"]] == ["image"]


def to_float16(model: onnx.ModelProto, _: ExportSettings) -> onnx.ModelProto:
    """Weights and everything between them in float16; inputs and outputs stay float32.

    No graph of ours makes a discrete choice of noise, which float16 could tip over: labels are integers, and the
    prior of the codes is continuous.
    """
    logging.getLogger("onnxruntime.transformers.float16").setLevel(logging.ERROR)  # its count of tiny weights
    plain = _copy(model)
    del plain.graph.value_info[:]  # inferred anew; what stands there of constants would be cast once per use
    converted = OnnxModel(convert_float_to_float16(plain, keep_io_types=True))  # type: ignore[no-untyped-call]
    converted.topological_sort()  # type: ignore[no-untyped-call] # the casts of inputs stand last
    made: onnx.ModelProto = converted.model
    return made


def to_uint8(model: onnx.ModelProto, _: ExportSettings) -> onnx.ModelProto:
    """Images as uint8 [N, H, W, C] in 0 to 255, as pictures lie in files: times 255, rounded half to even.

    The graph clips to [0, 1] before.
    """
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
    """`export.static_batch` images at a time, every size known: what a CUDA graph needs."""
    made = _copy(model)
    del made.graph.value_info[:]
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = settings.static_batch
    return shape_inference.infer_shapes(made, strict_mode=True, data_prop=True)


_MAKE = {"float16": to_float16, "uint8": to_uint8, "static": to_static}


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _changed(contract: Contract, variant: Variant, settings: ExportSettings) -> dict[str, Any]:
    """The contract of a variant, from that of the float32 file."""
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
