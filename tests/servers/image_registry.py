"""A registry of container images on this machine, for tests: images of one layer, under tags that can be moved."""

import gzip
import hashlib
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web

from tests.servers.process import free_port

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


class ImageRegistry:
    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self._blobs: dict[str, bytes] = {}
        self._tags: dict[str, str] = {}

    def put(self, name: str, root: bytes) -> str:
        """Makes an image of a root file system, under the name and tag `name`; returns its digest."""
        layer = gzip.compress(root, 1, mtime=0)
        rootfs = {"type": "layers", "diff_ids": [_digest(root)]}
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()
        layers = [self._described(layer, _LAYER)]
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": self._described(config, _CONFIG), "layers": layers}
        digest = self._described(json.dumps(manifest).encode(), _MANIFEST)["digest"]
        self._tags[name.rpartition(":")[2]] = str(digest)
        return str(digest)

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/v2/", self._version)
        application.router.add_get("/v2/{name:.+}/manifests/{reference}", self._manifest)
        application.router.add_get("/v2/{name:.+}/blobs/{digest}", self._blob)
        return application

    def _described(self, data: bytes, media_type: str) -> dict[str, str | int]:
        self._blobs[_digest(data)] = data
        return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def _manifest(self, request: web.Request) -> web.Response:
        reference = request.match_info["reference"]
        digest = self._tags.get(reference, reference)
        if digest not in self._blobs:
            raise web.HTTPNotFound
        return web.Response(body=self._blobs[digest], headers={"Content-Type": _MANIFEST, "Docker-Content-Digest": digest})

    async def _blob(self, request: web.Request) -> web.Response:
        return web.Response(body=self._blobs[request.match_info["digest"]], content_type="application/octet-stream")


@asynccontextmanager
async def image_registry() -> AsyncGenerator[ImageRegistry]:
    port = free_port()
    registry = ImageRegistry(port)
    runner = web.AppRunner(registry.application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield registry
    finally:
        await runner.cleanup()


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
