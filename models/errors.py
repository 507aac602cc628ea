"""What can go wrong in the world. A caller's own mistake is a ValueError or TypeError.

The docstring of each class is its title; the message says what happened, with which value, and what to do.
Abstention is not an error: see ``vocabulary.Reason``.
"""


class DemurError(Exception):
    """Demur cannot do this"""


class InputError(DemurError):
    """A file cannot be read as a radiograph"""


class DataError(DemurError):
    """A table or a folder of data is not usable"""


class CertificationError(DemurError):
    """A certificate cannot be computed from these scores"""


class BundleError(DemurError):
    """A release does not verify"""


class WorklistError(DemurError):
    """The worklist does not allow this"""
