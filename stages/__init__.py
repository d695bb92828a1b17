"""One script a DVC stage: read parameters and files, call fsat, write. Run as `python -m stages.<name>`."""
