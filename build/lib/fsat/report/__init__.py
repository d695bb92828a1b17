"""One run as one page: scores, learning curves, confusions, mistakes and doubtful labels with their sound.

In come the tables that the stages wrote; out goes one HTML file that needs no network, and figures for GitHub.
"""
