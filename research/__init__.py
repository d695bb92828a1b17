"""Experiments behind tables of docs/RESULTS.md: run by hand, linted and type-checked, without tests.

- `unknown`: how well "none of these" works, by labels that are left out of training.
- `label_noise`: how many flipped labels rounds of `fsat verify` find, and what they win back.

Each module says at its top what it needs and how it is run.
"""
