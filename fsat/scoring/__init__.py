"""What predictions are worth: MAP@3, accuracy, intervals, geometric mean of the folds, outcomes of each clip.

In come log-probabilities, features and labels; out go the submission, the metrics and the tables that the report shows.
"""
