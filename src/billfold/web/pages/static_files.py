"""The files that pages load: each URL changes with the content of its file, so browsers can cache it for good."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import metadata, resources

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

_MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_FOREVER = "public, max-age=31536000, immutable"
# Smaller files are sent uncompressed.
_GZIP_ABOVE_BYTES = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFile:
    """A file to serve; `packed` is its gzip form, None if the file is too small for that."""

    name: str
    media_type: str
    content: bytes
    packed: bytes | None
    etag: str


router = APIRouter(include_in_schema=False)


@router.get("/static/{name}")
def send_file(name: str, request: Request) -> Response:
    """A file by its name with a hash; any other name is 404."""
    file = _files().get(name)
    if file is None:
        raise HTTPException(404)
    headers = {"ETag": file.etag, "Cache-Control": _FOREVER, "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    if file.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.packed, media_type=file.media_type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(file.content, media_type=file.media_type, headers=headers)


def static_url(name: str) -> str:
    """The URL of a file by its plain name, such as `billfold.css` or `plotly.min.js`."""
    return f"/static/{_addresses()[name]}"


@cache
def _addresses() -> dict[str, str]:
    """The served names of files, by their plain names."""
    served = {name: _mark(name, content) for name, content in _own_files().items()}
    return {**served, "plotly.min.js": f"plotly-{metadata.version('plotly')}.min.js"}


@cache
def _files() -> dict[str, StaticFile]:
    contents = {**_own_files(), "plotly.min.js": _read_plotly()}
    return {_addresses()[name]: _file(_addresses()[name], content) for name, content in contents.items()}


@cache
def _own_files() -> dict[str, bytes]:
    folder = resources.files("billfold.web") / "static"
    return {
        entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.name.partition(".")[2] in _MEDIA_TYPES
    }


def _read_plotly() -> bytes:
    return (resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes()


def _mark(name: str, content: bytes) -> str:
    stem, _, suffix = name.rpartition(".")
    return f"{stem}-{sha256(content).hexdigest()[:16]}.{suffix}"


def _file(name: str, content: bytes) -> StaticFile:
    return StaticFile(
        name=name,
        media_type=_MEDIA_TYPES[name.rpartition(".")[2]],
        content=content,
        packed=gzip.compress(content, 6) if len(content) > _GZIP_ABOVE_BYTES else None,
        etag=f'"{sha256(content).hexdigest()[:32]}"',
    )
