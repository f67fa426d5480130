"""What goes wrong with a hub, in plain words, sorted into what may pass and what will not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from dynamics.errors import CheckpointError, Unanswered


class NotThere(CheckpointError):
    """The hub has no such repo, revision or file."""


class NotAsked(NotThere, Unanswered):
    """What has not been listed before is not at hand while the hub may not be asked."""


class Passing(Exception):
    """A failure that may be gone at the next try."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@contextmanager
def plain_errors(what: str, endpoint: str) -> Iterator[None]:
    """Sort the client's errors into those that may pass and those that will not, without what they say of requests."""
    try:
        yield
    except GatedRepoError as error:
        msg = f"{what} is gated: accept its terms at {endpoint} and set HF_TOKEN in the environment"
        raise NotThere(msg) from error
    except RevisionNotFoundError as error:
        msg = f"{what}: {endpoint} has no such revision; it may have been moved since it was listed"
        raise NotThere(msg) from error
    except RepositoryNotFoundError as error:
        msg = f"{what} is not at {endpoint}, or is private; check the name, and set HF_TOKEN if it is private"
        raise NotThere(msg) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise _unreachable(what, error) from error
    except EntryNotFoundError as error:
        msg = f"{what}: the file is listed but is not at {endpoint}"
        raise NotThere(msg) from error
    except HfHubHTTPError as error:
        raise _by_status(what, error) from error
    except httpx2.TransportError as error:
        msg = f"the connection failed ({type(error).__name__})"
        raise Passing(msg) from error


def _by_status(what: str, error: HfHubHTTPError) -> Exception:
    status = error.response.status_code if error.response is not None else 0
    if status in (408, 429) or status >= 500 or status == 0:
        waits = error.response.headers.get("Retry-After", "") if error.response is not None else ""
        return Passing(f"the hub answered {status}", float(waits) if waits.isdigit() else 0.0)
    return CheckpointError(f"{what}: the hub answered {status}; expected 200")


def _unreachable(what: str, error: BaseException) -> Exception:
    """The client says "not cached" both for a file that is not there offline and for a hub that did not answer."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, FileMetadataError):
            return CheckpointError(f"{what}: the hub's answer lacks the headers that name its commit and hash")
        if isinstance(cause, HfHubHTTPError):
            return _by_status(what, cause)
        if isinstance(cause, httpx2.TransportError):
            return Passing(f"the connection failed ({type(cause).__name__})")
        cause = cause.__cause__ or cause.__context__
    return CheckpointError(f"{what} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it")
