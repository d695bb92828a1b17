"""A trained model as a folder that needs nothing else, and the tagging of sound files with it.

In come the networks, the projection and the scores of a run; out goes a bundle with a model card. Then sound files
come in, and labels with probabilities go out, by the same functions that the pipeline's stages call.
"""
