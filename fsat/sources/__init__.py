"""Where datasets and initial weights come from: the synthetic demo, and downloads that resume and are checked.

In come an address and checksums, or a seed; out goes a folder that `clips` can read. This is the one package that uses
the network, and nothing but a stage of `sources/dvc.yaml` calls it.
"""
