"""What every package stands on: the parameters' schema, files, errors for people, random generators.

It knows nothing of sound or networks and imports no other package. `params` is the one place where a number of a run is
described; `files` writes whole or not at all and reads no pickles; `seeds` gives each purpose a random generator of
its own, so that no result depends on the order of work.
"""
