"""What a network reads: frames of many clips as one array, and batches of crops, augmented and mixed.

In come the arrays of `features` and the labels of `clips`; out go batches for training, validation and prediction.
Random numbers are drawn by one function and applied by another. No Keras: plain NumPy.
"""
