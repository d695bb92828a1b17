"""One script a DVC stage: read parameters and files, call fsat, write. Run as `python -m stages.<name>`."""

from fsat.core import loaded_code  # noqa: F401, I001  (before any other module: it notes what the stage is run with)
from fsat.core import processor

processor.limit()  # before NumPy is imported
