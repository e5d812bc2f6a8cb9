"""A connection to a place in S3, tried once, so that what is wrong with it is told at the start and by its name."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.loaders import create_loader

from penstock.transport.artifact_stores.s3_errors import explained
from penstock.transport.artifact_stores.s3_location import S3Location

if TYPE_CHECKING:  # their package is for developers only
    from types_aiobotocore_s3 import S3Client

# With the pauses between them (at most 1, 2, 4, 8 and 16 s) they bridge the restart of a server.
ATTEMPTS = 6
_CONNECTIONS = 64
# What the library reads of S3's interface, once a process (0.1 s).
_DESCRIPTIONS = create_loader()


@asynccontextmanager
async def connected(location: S3Location, attempts: int) -> AsyncGenerator["S3Client"]:
    """:raises StoreUnavailable: no such bucket, wrong credentials, no right to list, or no answer."""
    config = AioConfig(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=_CONNECTIONS,
        # Servers other than Amazon's know no trailing checksums; ours are sent where they are of use.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    action, permission = "opening the artifact store", "s3:ListBucket"
    session = get_session()
    session.register_component("data_loader", _DESCRIPTIONS)
    with explained(action, str(location), permission):
        # The library itself knows AWS_DEFAULT_REGION only.
        region = os.environ.get("AWS_REGION")
        context = session.create_client("s3", config=config, region_name=region)  # pyright: ignore[reportUnknownMemberType]  # stubs of S3 only
        client = await context.__aenter__()
    try:
        with explained(action, f"{location} at {client.meta.endpoint_url}", permission):
            # Without the right to list, S3 answers 403 for an object that is not there, so nothing could be called lost.
            await client.list_objects_v2(Bucket=location.bucket, Prefix=location.key("probe"), MaxKeys=1)
        yield client
    finally:
        await context.__aexit__(None, None, None)
