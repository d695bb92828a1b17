"""The four zips of FSDKaggle2018, about 4.6 GiB, as its authors published them: a table of facts.

E. Fonseca, M. Plakal, F. Font, D. P. W. Ellis, X. Favory, J. Pons, X. Serra: General-purpose tagging of Freesound audio
with AudioSet labels: task description, dataset, and baseline. DCASE 2018. DOI 10.5281/zenodo.2552860. CC-BY 4.0; each
clip has a licence of its own: CC0, CC-BY or, for a few, CC-BY-NC.

A test that downloads from this machine sets another `ZIPS`, or writes this file anew in a copy of the project.
"""

from fsat.sources.download import RemoteFile

PAGE = "https://zenodo.org/records/2552860"

_MD5 = {  # small ones first: a wrong address shows at once
    "FSDKaggle2018.meta": "f16828ac8be0e5285b9175a12f90d784",
    "FSDKaggle2018.doc": "4f2d1ac88f33a62f9db3108b269ee1b7",
    "FSDKaggle2018.audio_test": "f85c8665c3fc39311ea1b748e194a81d",
    "FSDKaggle2018.audio_train": "a8b47ff4b52022c178f88fa5c6f080d0",
}
# Each zip holds one folder, which has its name.
ZIPS = {
    name: RemoteFile(f"{PAGE}/files/{name}.zip?download=1", md5=md5, listed_in=f"fsat/sources/fsdkaggle2018.py, {name}")
    for name, md5 in _MD5.items()
}
