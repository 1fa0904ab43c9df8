"""The service's refusals."""


class Refusal(Exception):
    """A request that is answered with an HTTP status and a sentence.

    Args:
        status: HTTP status code, 4xx or 503.
        detail: what was found, what was expected, what to do.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
