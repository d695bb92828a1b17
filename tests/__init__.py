"""Tests. A package, as one of that name may be installed by others (sed_eval)."""
