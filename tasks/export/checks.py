"""What an .onnx file may hold: looked at before one is run, and in full before one ships."""

import getpass
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from tasks.common.errors import UserError
from tasks.common.params import OPSETS
from tasks.export.contract import CONTRACT

RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
CONTROL = {"If", "Loop", "Scan", "Shape", "Size", "NonZero"}  # no CUDA graph can hold what the CPU decides
STANDARD = ("", "ai.onnx")
# /two/parts, a drive or share of Windows, or a file's address; after a letter it would be part of a name.
ABSOLUTE = re.compile(r"(?<![\w.+/-])(?:(?:/[\w.+ -]+){2,}|[A-Za-z]:[\\/]\w|\\\\\w|file:/)")


def read_model(path: Path) -> tuple[onnx.ModelProto, bytes]:
    """A file as the model it holds and as its bytes.

    Raises UserError when it is missing or damaged, of an operator set that is not known, or when it keeps weights in
    other files: nothing beside it is ever opened.
    """
    try:
        data = path.read_bytes()
        model = onnx.load_from_string(data)
    except OSError as error:
        raise unfit(path, f"{error.strerror}") from None
    except DecodeError:
        raise unfit(path, "it is damaged or was cut short") from None
    for fault in (*_foreign_opsets(model), *_outside(model)):
        raise unfit(path, fault)
    if not model.graph.output:
        raise unfit(path, "it is damaged or was cut short: it has no output")
    return model, data


def unfit(path: Path, why: str) -> UserError:
    """The error of a file that cannot be run."""
    return UserError(f"{path} cannot be run ({why}); run the export stage again (`make repro`)")


def check_graph(name: str, model: onnx.ModelProto, batch: int | None) -> None:
    """Raises UserError unless the file holds standard inference alone, by itself, and nothing of whoever made it.

    The images that it takes at a time are any number, or `batch` where that is said.
    """
    parts = (_foreign_opsets, _outside, _foreign_nodes, _private)
    for fault in (*(fault for part in parts for fault in part(model)), *_sizes(model.graph, batch)):
        raise UserError(f"{name} must not ship: {fault}; it was not written")
    onnx.checker.check_model(model, full_check=True)


def _foreign_opsets(model: onnx.ModelProto) -> Iterator[str]:
    for opset in model.opset_import:
        if opset.domain not in STANDARD:
            yield f"it asks for the operators of {opset.domain!r}, which not every runtime has"
        elif opset.version not in OPSETS:
            yield f"it is of operator set {opset.version}; known are {OPSETS[0]} to {OPSETS[-1]}"


def _outside(model: onnx.ModelProto) -> Iterator[str]:
    for tensor in _messages(model, onnx.TensorProto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            places = {entry.key: entry.value for entry in tensor.external_data}
            yield f"it keeps weights in another file, {places.get('location', 'without a name')!r}"


def _foreign_nodes(model: onnx.ModelProto) -> Iterator[str]:
    for function in model.functions:
        yield f"it has an operator of its own, {function.name}"
    if model.training_info:
        yield "it holds how to train it"
    for node in _messages(model, onnx.NodeProto):
        if node.domain not in STANDARD:
            yield f"{node.op_type} of {node.domain!r} is no standard operator"
        elif node.op_type in RANDOM:
            yield f"{node.op_type} draws at random, so nobody could repeat an image"
        elif node.op_type in CONTROL:
            yield f"{node.op_type} lets the CPU decide what runs, which no CUDA graph can hold"
        elif _trains(node):
            yield f"{node.op_type} is in training mode"


def _trains(node: onnx.NodeProto) -> bool:
    """BatchNormalization says it by an attribute, Dropout by its third input."""
    said = any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
    return said or (node.op_type == "Dropout" and len(node.input) > 2 and bool(node.input[2]))


def _private(model: onnx.ModelProto) -> Iterator[str]:
    """Paths anywhere; the user's name where free text stands, since it may be any word."""
    for text in _texts(model):
        if found := ABSOLUTE.search(text):
            yield f"it tells a path of this machine, {found[0]!r}"
    remarks = [entry.value for entry in model.metadata_props if entry.key != CONTRACT]
    remarks += [part.doc_string for kind in (onnx.GraphProto, onnx.NodeProto) for part in _messages(model, kind)]
    user = _user()
    for remark in (model.doc_string, *remarks):
        if user and user.search(remark):
            yield f"it tells the user's name, in {remark!r}"


def _user() -> re.Pattern[str] | None:
    """The user's name as a word; None where the machine has none for it, as in many a container."""
    try:
        return re.compile(rf"(?<!\w){re.escape(getpass.getuser())}(?!\w)")
    except (KeyError, OSError):
        return None


def _sizes(graph: onnx.GraphProto, batch: int | None) -> Iterator[str]:
    constants = {tensor.name for tensor in graph.initializer}
    for value in (*graph.input, *graph.output):
        if value.name in constants:
            continue
        first, *others = value.type.tensor_type.shape.dim or [onnx.TensorShapeProto.Dimension()]
        if batch is None and not first.dim_param:
            yield f"`{value.name}` is of {first.dim_value} images at a time, where any number must do"
        if batch is not None and first.dim_value != batch:
            yield f"`{value.name}` is of {first.dim_value or 'any number of'} images at a time, not {batch}"
        if not all(size.dim_value for size in others):
            yield f"`{value.name}` has a size that is not known besides the number of images"


def _messages(message: Any, kind: type) -> Iterator[Any]:
    """Every part of that kind, however deep; nodes within nodes, tensors within attributes."""
    if isinstance(message, kind):
        yield message
    for _, value in message.ListFields():
        parts = value if hasattr(value, "__len__") and not isinstance(value, str | bytes) else [value]
        for part in parts:
            if not hasattr(part, "ListFields"):
                break  # numbers or texts
            yield from _messages(part, kind)


def _texts(message: Any) -> Iterator[str]:
    """Every text in it: names, remarks, metadata, and the bytes that attributes hold as texts."""
    for field, value in message.ListFields():
        parts = value if hasattr(value, "__len__") and not isinstance(value, str | bytes) else [value]
        for part in parts:
            if hasattr(part, "ListFields"):
                yield from _texts(part)
            elif isinstance(part, str):
                yield part
            elif isinstance(part, bytes) and field.name != "raw_data":
                yield part.decode("latin1")
            else:
                break
