"""What predictions are worth: MAP@3, accuracy, intervals, the ensemble's geometric mean, outcomes clip by clip.

In come log-probabilities and labels; out go the submission, the metrics and the tables that the report shows.
"""
