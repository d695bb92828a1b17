"""Backend-specific code: determinism, Adam in one kernel, training and prediction steps that compile once.

A network here sees hundreds of lengths T. Keras' own functions compile anew for the first two of them; on TensorFlow
a signature with free dimensions compiles once. On other backends Keras' functions are used as they are.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from fsat.core import keras_backend, seeds
from fsat.core.network import STRIDE
from fsat.inputs.batches import Batch


def prepare(seed: int, *key: int | str, precision: str = "float32", deterministic: bool = True) -> None:
    """Set Keras' global state for one purpose: defaults, seed of initial weights, dtype policy, deterministic ops.

    Automatic layer names, which weight files hold, start anew.
    """
    keras_backend.set_defaults()
    keras.utils.clear_session()
    keras.utils.set_random_seed(seeds.entropy(seed, *key) % 2**32)
    keras.config.set_dtype_policy(precision)
    if deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def adam() -> keras.optimizers.Adam:
    """Adam; on TensorFlow with its kernel for the whole update of a variable.

    Keras spells an update out in some thirty operations a variable, half of all that a training step has: they are
    traced before the first step and, on a GPU, launched one by one in each.
    """
    if keras.backend.backend() != "tensorflow":
        return keras.optimizers.Adam()

    import tensorflow as tf

    class FusedAdam(keras.optimizers.Adam):  # type: ignore[misc]  # Keras is untyped
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            number = self._get_variable_index(variable)
            steps = tf.cast(self.iterations.value + 1, variable.dtype)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=self._momentums[number].value.handle,
                v=self._velocities[number].value.handle,
                beta1_power=tf.pow(tf.cast(self.beta_1, variable.dtype), steps),
                beta2_power=tf.pow(tf.cast(self.beta_2, variable.dtype), steps),
                lr=tf.cast(learning_rate, variable.dtype),
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=tf.cast(gradient, variable.dtype),
            )

    return FusedAdam()


def training_step(model: keras.Model, *, crop_step: int = 1) -> Callable[[Batch, np.ndarray], Callable[[], float]]:
    """Function of (batch, sample weights (B,)) that does one optimiser step on a compiled model.

    It returns a function that gives the mean loss since the last `model.reset_metrics()`; the device is waited for
    only when that is called. The optimiser has to be built: ``model.optimizer.build(model.trainable_variables)``.
    """
    if keras.backend.backend() != "tensorflow":

        def keras_step(batch: Batch, sample_weight: np.ndarray) -> Callable[[], float]:
            logs = model.train_on_batch(batch.inputs, batch.targets, sample_weight, return_dict=True)
            return lambda: float(logs["loss"])

        return keras_step

    import tensorflow as tf

    model.reset_metrics()
    signature = (
        {tensor.name: tf.TensorSpec(tensor.shape, tf.float32) for tensor in model.inputs},
        tf.TensorSpec(model.output_shape, tf.float32),
        tf.TensorSpec((None,), tf.float32),
    )
    # At lengths in steps of the stride there are few shapes, so that compiling with XLA pays.
    jit = crop_step % STRIDE == 0 and bool(tf.config.list_physical_devices("GPU"))
    compiled = (
        tf.function(model.train_step, jit_compile=True, reduce_retracing=False)
        if jit
        else tf.function(model.train_step, input_signature=(signature,))
    )

    def tensorflow_step(batch: Batch, sample_weight: np.ndarray) -> Callable[[], float]:
        logs = compiled((batch.inputs, batch.targets, sample_weight))
        return lambda: float(logs["loss"])

    return tensorflow_step


def predictor(model: keras.Model) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Function of a batch's inputs that gives the network's output in inference mode, float32 (B, C)."""
    if keras.backend.backend() != "tensorflow":
        return lambda inputs: np.asarray(model.predict_on_batch(inputs))

    import tensorflow as tf

    signature = ({tensor.name: tf.TensorSpec(tensor.shape, tf.float32) for tensor in model.inputs},)
    compiled = tf.function(lambda inputs: model(inputs, training=False), input_signature=signature)
    return lambda inputs: compiled(inputs).numpy()
