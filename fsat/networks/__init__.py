"""The networks and their training: the one package that imports Keras, and so TensorFlow or JAX.

In come batches of `inputs` and initial weights; out go trained weights, learning curves and log-probabilities. A
training goes through up to four phases, keeps its state after each epoch and resumes to the same bytes.
"""
