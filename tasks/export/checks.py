"""Checks what an .onnx file contains: a short check before it is run, and a full one before it ships."""

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

RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
CONTROL = {"If", "Loop", "Scan", "Shape", "Size", "NonZero"}  # run on the CPU, which a CUDA graph cannot capture
STANDARD = ("", "ai.onnx")
# /two/parts, a drive or share of Windows, or a file: URL; after a letter or digit it would be part of a name.
ABSOLUTE = re.compile(r"(?<![\w.+/-])(?:(?:/[\w.+ -]+){2,}|[A-Za-z]:[\\/]\w|\\\\\w|file:/)")


def read_model(path: Path) -> tuple[onnx.ModelProto, bytes]:
    """Returns the model in a file, and the file's bytes.

    Raises UserError when the file is missing or damaged, uses an unsupported operator set, or refers to other files for
    its weights; those are never opened.
    """
    try:
        data = path.read_bytes()
        model = onnx.load_from_string(data)
    except OSError as error:
        raise unfit(path, str(error.strerror)) from None
    except DecodeError:
        raise unfit(path, "it is damaged or was cut short") from None
    for fault in (*_foreign_opsets(model), *_outside(model)):
        raise unfit(path, fault)
    if not model.graph.output:
        raise unfit(path, "it is damaged or was cut short: it has no output")
    return model, data


def unfit(path: Path, why: str) -> UserError:
    """Returns the error for a file that cannot be run."""
    return UserError(f"{path} cannot be run ({why}); run the export stage again (`make repro`)")


def check_graph(name: str, model: onnx.ModelProto, batch: int | None) -> None:
    """Raises UserError unless the file has only standard operators for inference, no other file and no private data.

    The batch size must be free, or `batch` where that is not None.
    """
    checks = (_foreign_opsets, _outside, _foreign_nodes, _private)
    for fault in (*(fault for check in checks for fault in check(model)), *_sizes(model.graph, batch)):
        raise UserError(f"{name} must not ship: {fault}; it was not written")
    onnx.checker.check_model(model, full_check=True)


def _foreign_opsets(model: onnx.ModelProto) -> Iterator[str]:
    for opset in model.opset_import:
        if opset.domain not in STANDARD:
            yield f"it needs the operators of {opset.domain!r}, which not every runtime has"
        elif opset.version not in OPSETS:
            yield f"it uses operator set {opset.version}; supported are {OPSETS[0]} to {OPSETS[-1]}"


def _outside(model: onnx.ModelProto) -> Iterator[str]:
    for tensor in _messages(model, onnx.TensorProto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            yield f"it keeps weights in another file, {entries.get('location', 'without a name')!r}"


def _foreign_nodes(model: onnx.ModelProto) -> Iterator[str]:
    for function in model.functions:
        yield f"it has an operator of its own, {function.name}"
    if model.training_info:
        yield "it contains instructions for training"
    for node in _messages(model, onnx.NodeProto):
        if node.domain not in STANDARD:
            yield f"{node.op_type} of {node.domain!r} is not a standard operator"
        elif node.op_type in RANDOM:
            yield f"{node.op_type} is random, so nobody could repeat an image"
        elif node.op_type in CONTROL:
            yield f"{node.op_type} lets the CPU decide what runs, which a CUDA graph cannot capture"
        elif _trains(node):
            yield f"{node.op_type} is in training mode"


def _trains(node: onnx.NodeProto) -> bool:
    """Returns whether BatchNormalization has the attribute of training mode, or Dropout the third input."""
    attribute = any(one.name == "training_mode" and one.i for one in node.attribute)
    return attribute or (node.op_type == "Dropout" and len(node.input) > 2 and bool(node.input[2]))


def _private(model: onnx.ModelProto) -> Iterator[str]:
    """Searches all texts for paths, but only free texts for the user's name, since that may be any word."""
    for text in _texts(model):
        if found := ABSOLUTE.search(text):
            yield f"it contains a path of this machine, {found[0]!r}"
    remarks = [entry.value for entry in model.metadata_props if entry.key != CONTRACT]
    remarks += [part.doc_string for kind in (onnx.GraphProto, onnx.NodeProto) for part in _messages(model, kind)]
    user = _user_pattern()
    for remark in (model.doc_string, *remarks):
        if user and user.search(remark):
            yield f"it contains the user's name, in {remark!r}"


def _user_pattern() -> re.Pattern[str] | None:
    """Returns a pattern for the user's name as a word; None where the machine has no name, as in many containers."""
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
            yield f"`{value.name}` has a batch size of {first.dim_value}, but must accept any"
        if batch is not None and first.dim_value != batch:
            yield f"`{value.name}` has a batch size of {first.dim_value or 'any number'}, not {batch}"
        if not all(size.dim_value for size in others):
            yield f"`{value.name}` has a dimension of unknown size besides the batch"


def _messages(model: onnx.ModelProto, kind: type) -> Iterator[Any]:
    """Yields every message of that kind at any depth, such as nodes within nodes and tensors within attributes."""
    return (value for _, value in _values(model) if isinstance(value, kind))


def _texts(model: onnx.ModelProto) -> Iterator[str]:
    """Yields every text: names, remarks, metadata, and the bytes that attributes hold as texts."""
    for name, value in _values(model):
        text = value.decode("latin1") if isinstance(value, bytes) and name != "raw_data" else value
        if isinstance(text, str):
            yield text


def _values(message: Any) -> Iterator[tuple[str, Any]]:
    """Yields (field name, value) of every message, text and bytes within a protobuf message, parents first."""
    for field, value in message.ListFields():
        for part in value if hasattr(value, "__len__") and not isinstance(value, str | bytes) else [value]:
            if hasattr(part, "ListFields"):
                yield field.name, part
                yield from _values(part)
            elif isinstance(part, str | bytes):
                yield field.name, part
            else:
                break  # numbers, of which there can be millions
