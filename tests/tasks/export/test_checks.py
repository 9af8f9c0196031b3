"""What no file may hold that ships or is run: each is broken on purpose, and refused in one sentence."""

import getpass
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tasks.common.errors import UserError
from tasks.export.checks import check_graph
from tasks.export.session import session

WEIGHTS = np.eye(4, dtype=np.float32)


def model(*extra: onnx.NodeProto, batch: int | str = "N", length: int | None = 4) -> onnx.ModelProto:
    """One matrix product, and whatever comes after it."""
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, length]) for name in ("noise", "image")]
    last = extra[-1].output[0] if extra else "made"
    nodes = [helper.make_node("MatMul", ["noise", "weights"], ["made"]), *extra]
    nodes.append(helper.make_node("Identity", [last], ["image"]))
    graph = helper.make_graph(nodes, "tiny", [sides[0]], [sides[1]], [numpy_helper.from_array(WEIGHTS, "weights")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def outside(place: str) -> onnx.ModelProto:
    """Weights that are said to lie in another file."""
    made = model()
    [weights] = made.graph.initializer
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=place)
    return made


def of_opset(version: int) -> onnx.ModelProto:
    made = model()
    made.opset_import[0].version = version
    return made


def with_domain() -> onnx.ModelProto:
    made = model(helper.make_node("Gelu", ["made"], ["end"], domain="com.microsoft"))
    made.opset_import.add(domain="com.microsoft", version=1)
    return made


def with_function() -> onnx.ModelProto:
    made = model()
    inner = [helper.make_node("Relu", ["x"], ["y"])]
    opsets = [helper.make_opsetid("", 20)]
    made.functions.append(helper.make_function("mine", "Twice", ["x"], ["y"], inner, opsets))
    return made


def branching() -> onnx.ModelProto:
    """With a random node in a branch, found there as well."""
    output = helper.make_tensor_value_info("r", TensorProto.FLOAT, [1])
    drawn = helper.make_graph([helper.make_node("RandomNormal", [], ["r"], shape=[1])], "b", [], [output])
    condition = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True)))
    return model(condition, helper.make_node("If", ["c"], ["end"], then_branch=drawn, else_branch=drawn))


def normalised() -> onnx.NodeProto:
    return helper.make_node("BatchNormalization", ["made", *("weights",) * 4], ["end"], training_mode=1)


def with_remark(remark: str) -> onnx.ModelProto:
    made = model()
    made.graph.node[0].doc_string = remark
    return made


def with_metadata(value: str) -> onnx.ModelProto:
    made = model()
    made.metadata_props.add(key="source", value=value)
    return made


BROKEN: list[tuple[Callable[[], onnx.ModelProto], str]] = [
    (lambda: of_opset(99), "it uses operator set 99; supported are 18 to 23"),
    (lambda: of_opset(11), "it uses operator set 11"),
    (with_domain, "operators of 'com.microsoft'"),
    (with_function, "an operator of its own, Twice"),
    (lambda: model(helper.make_node("RandomNormal", [], ["end"], shape=[1, 4])), "RandomNormal is random"),
    (lambda: model(helper.make_node("RandomUniformLike", ["made"], ["end"])), "RandomUniformLike is random"),
    (branching, "If lets the CPU decide what runs"),
    (lambda: model(normalised()), "BatchNormalization is in training mode"),
    (lambda: model(helper.make_node("Dropout", ["made", "", "weights"], ["end"])), "Dropout is in training mode"),
    (lambda: outside("weights.bin"), "weights in another file, 'weights.bin'"),
    (lambda: with_remark('File "/home/ann/imagewright/gan.py", line 3'), "a path of this machine, '/home/ann"),
    (lambda: with_metadata("C:\\Users\\ann"), "a path of this machine, 'C:"),
    (lambda: with_metadata(f"made by {getpass.getuser()}"), "the user's name, in 'made by"),
    (lambda: model(batch=2), "`noise` has a batch size of 2, but must accept any"),
    (lambda: model(length=None), "`noise` has a dimension of unknown size besides the batch"),
]


@pytest.mark.parametrize(("make", "sentence"), BROKEN, ids=[sentence for _, sentence in BROKEN])
def test_what_must_not_ship_is_refused(make: Callable[[], onnx.ModelProto], sentence: str) -> None:
    with pytest.raises(UserError, match=r"^gan\.onnx must not ship: .*; it was not written$") as caught:
        check_graph("gan.onnx", make(), None)
    assert sentence in str(caught.value)


def test_what_may_ship_is_let() -> None:
    check_graph("gan.onnx", model(helper.make_node("Relu", ["made"], ["end"])), None)
    check_graph("gan.batch2.onnx", model(batch=2), 2)
    check_graph("gan.onnx", with_remark("a and/or b, 1/2, https://example.org/a/b, image"), None)
    with pytest.raises(UserError, match=r"`noise` has a batch size of any number, not 2"):
        check_graph("gan.batch2.onnx", model(), 2)


def test_a_user_without_a_name_may_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs with any number for a user."""
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 2)
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    check_graph("gan.onnx", with_remark("made by nobody"), None)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: of_opset(99), "it uses operator set 99; supported are 18 to 23"),
        (lambda: outside("../secret.bin"), "it keeps weights in another file, '../secret.bin'"),
        (lambda: outside("/etc/passwd"), "it keeps weights in another file, '/etc/passwd'"),
        (lambda: outside("beside.bin"), "it keeps weights in another file, 'beside.bin'"),
        (lambda: model(helper.make_node("Nonsense", ["made"], ["end"])), "Nonsense"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(make: Callable[[], onnx.ModelProto], sentence: str, tmp_path: Path) -> None:
    (tmp_path / "beside.bin").write_bytes(WEIGHTS.tobytes())
    path = tmp_path / "gan.onnx"
    path.write_bytes(make().SerializeToString())
    refused(path, sentence)


@pytest.mark.parametrize("keep", [0, 1, 50, -1])
def test_a_file_cut_short_is_one_sentence(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "gan.onnx"
    path.write_bytes(model().SerializeToString()[:keep])
    refused(path, "")
    path.unlink()
    refused(path, "No such file")


def refused(path: Path, sentence: str) -> None:
    with pytest.raises(UserError, match=r"gan\.onnx cannot be run \(.*\); run the export stage again") as caught:
        session(path, 1)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
