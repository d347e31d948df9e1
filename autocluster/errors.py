"""The one exception that is shown to the user as a message."""


class ClusterError(Exception):
    """Something that the user can do something about; the text says what."""
