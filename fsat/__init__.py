"""fsat: a reproducible audio-tagging pipeline. See docs/ARCHITECTURE.md for the rooms of the house."""
