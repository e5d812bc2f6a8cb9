"""What S3 and the way to it answer, in Penstock's words: what was tried, where, and what to do."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from penstock.contracts.errors import StoreUnavailable

UNREACHED = (BotoCoreError, aiohttp.ClientError, asyncio.TimeoutError, ConnectionError)
"""What is raised when no answer came, or half of one."""

_IDENTITY = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AuthorizationHeaderMalformed"}
_GARBLED = {"BadDigest", "InvalidDigest", "NoSuchUpload", "InvalidPart", "InvalidPartOrder", "IncompleteBody", "XAmzContentSHA256Mismatch"}


class TransferGarbled(StoreUnavailable):
    """What arrived at the other side is not what was sent: send it again from the start."""


def status_of(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def code_of(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def is_missing(error: ClientError) -> bool:
    """No such object. A missing bucket is another thing, but an answer to HEAD has no body that says so."""
    return status_of(error) == 404 and code_of(error) != "NoSuchBucket"


@contextmanager
def explained(action: str, where: str, permission: str) -> Generator[None]:
    """:raises StoreUnavailable: in place of whatever the S3 library raises."""
    try:
        yield
    except ClientError as error:
        raise _refused(error, action, where, permission) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StoreUnavailable(
            f"{action} in {where}: {str(error).lower()}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role"
        ) from error
    except UNREACHED as error:
        raise StoreUnavailable(
            f"{action} in {where}: no answer ({str(error) or type(error).__name__}); is the server up, and is AWS_ENDPOINT_URL_S3 right?"
        ) from error


def _refused(error: ClientError, action: str, where: str, permission: str) -> StoreUnavailable:
    status, code = status_of(error), code_of(error)
    told = f"{action} in {where}"
    if code == "NoSuchBucket":
        return StoreUnavailable(f"{told}: there is no such bucket; create it, or correct PENSTOCK_ARTIFACTS_URL")
    if code in _GARBLED:
        return TransferGarbled(f"{told}: the bytes did not arrive whole ({code}); something between here and there changes them")
    if code in _IDENTITY:
        return StoreUnavailable(f"{told}: the credentials are refused ({code}); correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if status == 403:
        return StoreUnavailable(f"{told}: not allowed; the credentials lack {permission} there, or they are wrong")
    if status == 301 or code in ("PermanentRedirect", "IllegalLocationConstraintException"):
        return StoreUnavailable(f"{told}: the bucket is in another region; set AWS_REGION to it")
    if status >= 500 or code in ("SlowDown", "RequestTimeout", "Throttling"):
        return StoreUnavailable(
            f"{told}: the server can't serve now ({status} {code}), after several attempts; see its health and try again"
        )
    message = error.response.get("Error", {}).get("Message", "")
    return StoreUnavailable(f"{told}: refused with {status} {code} {message}".rstrip() + "; see the server's log")
