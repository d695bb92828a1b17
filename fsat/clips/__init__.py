"""Sound files on disk: what a dataset folder holds, what is wrong with it, and which fold holds each clip out.

In comes a folder in one of four layouts; out go the table of clips (`data/index.csv`), the list of all its problems
in one message, the folds, and the samples of a single clip as float32 mono at a wanted rate.
"""
