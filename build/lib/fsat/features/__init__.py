"""What is computed of a clip's samples: silence, log-mel frames, 1133 spectral statistics, principal components.

In come samples, out go arrays; no module here has seen a label or a network. Functions equal librosa's within the
tolerances of docs/RECIPE.md, without importing it, and work one clip at a time.
"""
