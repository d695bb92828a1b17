"""Other weights in a converted graph: networks of one shape need one conversion.

A converter keeps most weights as they are, in another order of axes, and folds a batch normalisation into the kernel
before it, or keeps it as a scale and an offset. Which array of a graph is which of these is found by its bytes.
"""

from collections.abc import Callable, Iterator
from functools import partial

import keras
import numpy as np

# Of a Keras kernel, in ONNX: those of a convolution, and of a depthwise one.
_ORDERS = ((3, 2, 0, 1), (2, 3, 0, 1))


def refill(made: bytes, network: keras.Model, others: Iterator[keras.Model]) -> Iterator[bytes | None]:
    """The ONNX model of a network, as `onnx_export.to_onnx` made it, with the weights of others of the same shape.

    Every array of `made` has to have the bytes of something that follows from the weights of `network`, but for single
    numbers, which may be constants of the graph. Each of `others` is read before the next is asked for. None for a
    network whose arrays are not known: if one has no such origin, or two that differ in the other network.
    """
    import onnx

    model = onnx.load_from_string(made)
    floats = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    by_size: dict[int, list[tuple[str, np.ndarray]]] = {}
    for name, size, value in _origins(network):
        if any(size == np.prod(tensor.dims) for tensor in floats):
            by_size.setdefault(size, []).append((name, value()))
    arrays, origins = [], []
    for tensor in floats:
        wanted = onnx.numpy_helper.to_array(tensor)
        same = [name for name, value in by_size.get(wanted.size, []) if value.tobytes() == wanted.tobytes()]
        if same or wanted.size > 1:
            arrays.append(tensor)
            origins.append(same)
    placed = {name for names in origins for name in names}
    # A single number of a layer that is nowhere may be one that was changed, and looks like a constant.
    is_known = all(name in placed for name, size, _ in _origins(network) if size == 1)
    for other in others:
        known = {name: value for name, _, value in _origins(other)}
        found = [{known[name]().tobytes() for name in names} for names in origins]
        if not is_known or any(len(of_array) != 1 for of_array in found):
            yield None
            continue
        for tensor, (data,) in zip(arrays, found, strict=True):
            tensor.raw_data = data
        yield model.SerializeToString(deterministic=True)


def _origins(network: keras.Model) -> Iterator[tuple[str, int, Callable[[], np.ndarray]]]:
    """Name, size and maker of each float32 array that follows from the weights: kernels, also scaled, and norms."""
    inside = [layer for layer in network._flatten_layers() if layer.weights and not isinstance(layer, keras.Model)]
    norms = {n: _affine(layer) for n, layer in enumerate(inside) if isinstance(layer, keras.layers.BatchNormalization)}
    for number, (scale, offset) in norms.items():
        yield f"{number} scale", scale.size, partial(np.asarray, scale)
        yield f"{number} offset", offset.size, partial(np.asarray, offset)
    for number, layer in enumerate(inside):
        for weight in layer.weights if number not in norms else ():
            value = np.asarray(weight)
            yield f"{number} {weight.name}", value.size, partial(np.asarray, value)
            for order in _ORDERS if value.ndim == 4 else ():
                kernel = value.transpose(order)
                yield f"{number} {weight.name} {order}", kernel.size, partial(np.asarray, kernel)
                for norm, (scale, _) in norms.items():
                    if scale.size == len(kernel):
                        scaled = partial(np.multiply, kernel, scale[:, None, None, None])
                        yield f"{number} {weight.name} {order} by {norm}", kernel.size, scaled


def _affine(norm: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset of a batch normalisation at inference, float32 (C,), rounded as TensorFlow does."""
    import tensorflow as tf

    scale = tf.math.rsqrt(np.asarray(norm.moving_variance) + np.float32(norm.epsilon)).numpy()
    if norm.scale:
        scale = scale * np.asarray(norm.gamma)
    offset = -np.asarray(norm.moving_mean) * scale
    return scale, np.asarray(norm.beta) + offset if norm.center else offset
