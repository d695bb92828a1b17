"""Networks as ONNX files whose bytes depend on the network alone."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from fsat.core.errors import FsatError
from fsat.networks import backend, embedding, model, onnx_weights

# The newest operator set that tf2onnx 1.17 writes; ONNX Runtime reads it since version 1.14.
OPSET = 18


def convert(paths: Mapping[Path, Path], labels: Sequence[str]) -> int:
    """Write the trained networks of folders (see `model.load_network`) as ONNX files that name their labels.

    `paths` has the file of each folder; all networks have one shape, so that the first conversion serves all whose
    weights are found in it (`onnx_weights.refill`). Returns the length E of the embedding. `FsatError` if a network
    cannot be loaded, was trained on other labels, or Keras does not run on TensorFlow.
    """
    prepare()
    first, *others = paths
    network = model.load_network(first, labels=labels)
    outputs = ("probabilities", "embedding")
    made = to_onnx(network, outputs=outputs, labels=labels)
    paths[first].write_bytes(made)
    filled = (model.load_network(folder, labels=labels, into=network) for folder in others)
    for folder, refilled in zip(others, onnx_weights.refill(made, network, filled), strict=True):
        paths[folder].write_bytes(refilled or to_onnx(network, outputs=outputs, labels=labels))
    return int(network.get_layer("embedding").output.shape[-1])


def convert_trunk(
    weights: str | Path, backbone: str, width: float, n_mels: int, path: str | Path, *, views: Sequence[str]
) -> dict[str, int]:
    """Write an audio trunk with its initial weights as an ONNX file whose outputs are views, named as `embedding` does.

    Returns the length of each view. `FsatError` if the weights cannot be loaded, a view is not known, or Keras does not
    run on TensorFlow.
    """
    prepare()
    network = embedding.load(weights, backbone, width=width, n_mels=n_mels, names=views)
    Path(path).write_bytes(to_onnx(network, outputs=views))
    return {name: int(network.output[name].shape[-1]) for name in views}


def prepare() -> None:
    """Set Keras' state for a conversion; `FsatError` if it does not run on TensorFlow, whose graphs are converted."""
    if (running := keras.backend.backend()) != "tensorflow":
        raise FsatError(f"conversion to ONNX needs Keras on TensorFlow, not {running}: unset KERAS_BACKEND.")
    backend.prepare(0)


def to_onnx(network: keras.Model, *, outputs: Sequence[str], labels: Sequence[str] = ()) -> bytes:
    """Bytes of an ONNX model of a network in inference mode; equal networks give equal bytes.

    Inputs "mel" (B, M, T, 1) and, for a network with components, "pca" (B, P); outputs are those of the layers named,
    such as "probabilities" (B, C) and "embedding" (B, E). All are float32; B and T are free. `labels`, in the order of
    the probabilities, are kept as JSON in the model's metadata.
    """
    import tensorflow as tf
    import tf2onnx

    asked = keras.Model(network.inputs, [network.get_layer(name).output for name in outputs])
    names = [tensor.name for tensor in network.inputs]
    signature = [tf.TensorSpec(tensor.shape, tf.float32, name=tensor.name) for tensor in network.inputs]
    function = tf.function(lambda *inputs: asked(dict(zip(names, inputs, strict=True)), training=False))
    proto, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
    made = canonical(proto, outputs)
    if labels:
        made.metadata_props.add(key="labels", value=json.dumps(list(labels)))
    return made.SerializeToString(deterministic=True)


def canonical(proto: Any, outputs: Sequence[str]) -> Any:
    """The same model with names and order of its nodes that follow from its graph alone.

    The converter names nodes by counters and orders them by hashes, so that two exports of one network differ. Here
    nodes are ordered by a walk from the outputs to the inputs, and tensors are numbered in that order.
    """
    import onnx

    graph = proto.graph
    made_by = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    names = {tensor.name: tensor.name.partition(":")[0] for tensor in graph.input}
    names |= {tensor.name: name for tensor, name in zip(graph.output, outputs, strict=True)}
    nodes: list[Any] = []
    initializers: list[Any] = []
    for thing in _from_outputs([tensor.name for tensor in graph.output], made_by, constants):
        fresh = type(thing)()
        fresh.CopyFrom(thing)
        fresh.ClearField("doc_string")
        if isinstance(thing, onnx.TensorProto):
            fresh.name = names[thing.name] = f"weights{len(initializers)}"
            initializers.append(fresh)
            continue
        fresh.name = f"node{len(nodes)}"
        for position, name in enumerate(thing.output):
            names.setdefault(name, f"{fresh.name}_{position}" if name else "")
        fresh.input[:] = [names.get(name, name) for name in thing.input]
        fresh.output[:] = [names[name] for name in thing.output]
        attributes = sorted(fresh.attribute, key=lambda attribute: attribute.name)
        del fresh.attribute[:]
        fresh.attribute.extend(attributes)
        nodes.append(fresh)
    helper = onnx.helper

    def described(tensor: Any) -> Any:
        """Name and shape of an input or output; only the batch and the frames are free."""
        dims = tensor.type.tensor_type.shape.dim
        shape = [dim.dim_value or {0: "B", 2: "T"}.get(axis, "") for axis, dim in enumerate(dims)]
        return helper.make_tensor_value_info(names[tensor.name], onnx.TensorProto.FLOAT, shape)

    inputs = [described(tensor) for tensor in sorted(graph.input, key=lambda tensor: names[tensor.name])]
    fixed = helper.make_graph(nodes, "network", inputs, [described(tensor) for tensor in graph.output], initializers)
    opsets = [helper.make_opsetid("", next(entry.version for entry in proto.opset_import if not entry.domain))]
    made = helper.make_model(fixed, opset_imports=opsets, ir_version=proto.ir_version, producer_name="fsat")
    onnx.checker.check_model(made)
    return made


def _from_outputs(outputs: list[str], made_by: dict[str, Any], constants: dict[str, Any]) -> Iterator[Any]:
    """Yield nodes and constants, each once and after all that it reads: depth first from the outputs."""
    done: set[str] = set()
    waiting = [(name, False) for name in reversed(outputs)]
    while waiting:
        name, inputs_done = waiting.pop()
        node = made_by.get(name)
        if name in done or (node is None and name not in constants):  # seen, or an input of the graph
            continue
        if node is None:
            done.add(name)
            yield constants[name]
        elif inputs_done:
            done.update(node.output)
            yield node
        else:
            waiting.append((name, True))
            waiting += [(parent, False) for parent in reversed(node.input)]
