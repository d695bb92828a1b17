"""The one exception a user is meant to read."""


class FsatError(Exception):
    """A problem its reader can mend.

    The message names the file or key, what is wrong with it and what to do next; it is shown without a traceback.
    """
