"""What can go wrong between a client and the service. These know no HTTP; ``problems`` has their statuses."""

from models.errors import DemurError


class UnauthenticatedError(DemurError):
    """No valid credentials"""


class ForbiddenError(DemurError):
    """Not allowed"""


class MissingError(DemurError):
    """No such thing here"""


class RequestError(DemurError):
    """The request is not well formed"""


class MediaTypeError(DemurError):
    """The media type is not supported"""


class NotAcceptableError(DemurError):
    """None of the wanted media types can be given"""


class TooLargeError(DemurError):
    """The request is too large"""


class RateError(DemurError):
    """Too many requests"""


class OverloadedError(DemurError):
    """No room at the moment"""


class SiteError(DemurError):
    """The site cannot be set like this"""


class ConflictError(DemurError):
    """Something else is stored under this name"""
