"""Tools for those who work on the project; nothing the pipeline itself needs."""
