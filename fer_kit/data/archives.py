"""Files that may lie in an archive: zip, gzip, tar and tar.gz, known by their content and read without unpacking.

Archives may come from untrusted sources. No file is written, links are not followed, and the bytes that an archive may
unpack to are bounded while it is read, whatever its headers say.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from fer_kit.errors import FerKitError
from fer_kit.files import unzip

PLAIN, ZIP, GZIP, TAR = "", "zip", "gzip", "tar"
MOST_HEADER_BYTES = 1 << 20  # of one header in a tar file
MOST_MEMBERS = 300_000  # the competition has 35,887 images
_TAR_MAGIC = slice(257, 262)
_TAR_BLOCK = 512
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")  # the second: without files
_FAULTS: tuple[type[Exception], ...] = (tarfile.TarError, *unzip.FAULTS)
_AGAIN = "download it again"


@dataclass(frozen=True)
class Source:
    """One file: `path` itself, or `member` of the archive `path`.

    size_bytes: size of the unpacked file as far as its archive states it. kind: PLAIN, ZIP, GZIP or TAR.
    """

    path: Path
    member: str | None
    size_bytes: int
    kind: str = PLAIN

    @property
    def name(self) -> str:
        """The name in error messages."""
        return f"{self.path}" if self.member is None else f"{self.path}:{self.member}"

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The unpacked bytes, to be read once, forwards.

        Raises:
            FerKitError: the file is missing or unreadable, or the archive is damaged, encrypted or a bomb; also raised
                while the `with` block reads.
        """
        with _as_user_errors(self):
            if self.kind == PLAIN:
                with self.path.open("rb", buffering=0) as file:
                    yield file
            elif self.kind == ZIP:
                assert self.member is not None
                with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as member:
                    yield member
            elif self.kind == GZIP:
                with _unpacked(self.path) as unpacked:
                    yield unpacked
            else:
                with _tar(self.path) as tar:
                    for header in tar:
                        if header.name == self.member and header.isreg():
                            yield cast(IO[bytes], tar.extractfile(header))
                            return
                    raise FerKitError(f"{self.name}: is no longer in the archive; start again")


def kind_of(path: Path) -> str:
    """The kind of archive that `path` is by its content, PLAIN for all other files.

    Raises:
        FerKitError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            begins = file.read(_TAR_BLOCK)
        if begins.startswith(_ZIP_MAGIC):
            return ZIP
        if not begins.startswith(_GZIP_MAGIC):
            return TAR if begins[_TAR_MAGIC] == b"ustar" else PLAIN
        with gzip.open(path) as unpacked:
            return TAR if unpacked.read(_TAR_BLOCK)[_TAR_MAGIC] == b"ustar" else GZIP
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            return GZIP
        raise FerKitError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (EOFError, zlib.error):
        return GZIP  # cut or damaged, as its reader will say


def whole(path: Path) -> Source:
    """The source of a file that is no archive of several files: plain or packed by gzip."""
    kind = kind_of(path)
    size = path.stat().st_size
    if kind == GZIP and size >= 4:
        with path.open("rb") as file:
            file.seek(-4, io.SEEK_END)
            size = int.from_bytes(file.read(4), "little")  # the size modulo 2**32; equal files state equal sizes
    return Source(path, None, size, kind)


def members(path: Path, wanted: Callable[[str], bool], enough: Callable[[Sequence[str]], bool]) -> list[Source]:
    """The files in the archive `path` whose names are `wanted`, in the order of the archive.

    enough: whether the names found so far are all that is needed; a tar file is not read beyond, since its list of
    files costs unpacking it.

    Raises:
        FerKitError: the archive is damaged or a bomb; a wanted file is encrypted, or a link.
    """
    kind = kind_of(path)
    found: list[Source] = []
    with _as_user_errors(Source(path, None, 0, TAR if kind == TAR else ZIP)):
        if kind == TAR:
            for name, size_bytes, is_file in _tar_headers(path):
                if not wanted(name):
                    continue
                if not is_file:
                    raise FerKitError(f"{path}: {name} is a link, not a file; unpack it first")
                if fault := unzip.bomb(size_bytes, path):
                    raise FerKitError(f"{path}: {name} {fault}; {_AGAIN}")
                found.append(Source(path, name, size_bytes, TAR))
                if enough([source.member or "" for source in found]):
                    break
            return found
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.is_dir() or not wanted(member.filename):
                    continue
                if member.flag_bits & 1:
                    raise FerKitError(f"{path}: {member.filename} is encrypted; unpack it first")
                if fault := unzip.bomb(member.file_size, path):
                    raise FerKitError(f"{path}: {member.filename} {fault}; {_AGAIN}")
                found.append(Source(path, member.filename, member.file_size, ZIP))
    return found


_Header = tuple[str, int, bool]
_listed: dict[tuple[Path, int, int], list[_Header]] = {}  # whole lists of tar files, by size and time of change


def _tar_headers(path: Path) -> Iterator[_Header]:
    """Name, size and whether it is a file, of everything in a tar file but folders.

    A list that was read to its end is kept: each format asks for it, and a packed tar file is unpacked for the list.
    """
    stat = path.stat()
    key = path, stat.st_size, stat.st_mtime_ns
    if key in _listed:
        yield from _listed[key]
        return
    headers: list[_Header] = []
    with _tar(path) as tar:
        for header in tar:
            if not header.isdir():
                headers.append((header.name, header.size, header.isreg()))
                yield headers[-1]
            if len(headers) > MOST_MEMBERS:
                raise FerKitError(f"{path}: holds more than {MOST_MEMBERS:,} files; unpack it first")
    _listed.clear()
    _listed[key] = headers


def contents(sources: Sequence[Source], most_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The position in `sources` and the content of many small files; each archive is read once, in its own order.

    Raises:
        FerKitError: as `Source.open`, or a file has more than `most_bytes`.
    """
    of_path: dict[Path, dict[str | None, int]] = {}
    for position, source in enumerate(sources):
        of_path.setdefault(source.path, {})[source.member] = position
    for path, positions in of_path.items():
        first = sources[next(iter(positions.values()))]
        with _as_user_errors(first):
            if first.kind == ZIP:
                with zipfile.ZipFile(path) as archive:
                    for member, position in positions.items():
                        with archive.open(cast(str, member)) as packed:
                            yield position, _bounded(packed, sources[position], most_bytes)
            elif first.kind == TAR:
                left = dict(positions)
                with _tar(path) as tar:
                    for header in tar:
                        if header.isreg() and header.name in left:
                            position = left.pop(header.name)
                            file = cast(IO[bytes], tar.extractfile(header))
                            yield position, _bounded(file, sources[position], most_bytes)
                if left:
                    raise FerKitError(f"{path}: a file changed while it was read; start again")
            else:
                with first.open() as plain:
                    yield positions[first.member], _bounded(plain, first, most_bytes)


def names_in(path: Path, most: int = 5) -> str:
    """The first names in an archive, for error messages."""
    names: list[str] = []
    with contextlib.suppress(FerKitError), _as_user_errors(Source(path, None, 0, TAR)):
        if kind_of(path) == TAR:
            names = [name for name, _, _ in itertools.islice(_tar_headers(path), most)]
        else:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()[:most]
    return ", ".join(names) or "nothing"


def _bounded(file: IO[bytes], source: Source, most_bytes: int) -> bytes:
    content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise FerKitError(f"{source.name}: has more than {most_bytes:,} bytes, too many for a face")
    return content


class _Guarded(io.RawIOBase):
    """An unpacked stream that refuses to read more than is plausible for the archive `path`, at once or in all."""

    def __init__(self, file: IO[bytes], path: Path, packed: bool) -> None:
        super().__init__()
        self.file, self.path = file, path
        self.most_bytes = unzip.most_bytes(path) if packed else None

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MOST_HEADER_BYTES:
            raise FerKitError(f"{self.path}: has a header of more than {MOST_HEADER_BYTES:,} bytes; {_AGAIN}")
        content = self.file.read(size)
        self._check()
        return content

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        content = self.file.read(min(len(view), MOST_HEADER_BYTES))
        view[: len(content)] = content
        self._check()
        return len(content)

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        return self.file.seek(position, whence)

    def tell(self) -> int:
        return self.file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self.file.close()
        super().close()

    def _check(self) -> None:
        if self.most_bytes is not None and self.file.tell() > self.most_bytes:
            raise FerKitError(f"{self.path}: {unzip.bomb(self.file.tell(), self.path)}; {_AGAIN}")


@contextlib.contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    with gzip.open(path) as file, _Guarded(cast(IO[bytes], file), path, packed=True) as guarded:
        yield cast(IO[bytes], guarded)


@contextlib.contextmanager
def _tar(path: Path) -> Iterator[tarfile.TarFile]:
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        file = cast(IO[bytes], gzip.GzipFile(fileobj=raw) if packed else raw)
        with _Guarded(file, path, packed) as guarded, tarfile.open(fileobj=cast(IO[bytes], guarded), mode="r:") as tar:
            yield tar


@contextlib.contextmanager
def _as_user_errors(source: Source) -> Iterator[None]:
    """Turn what reading `source` raises into a FerKitError that names it."""
    kind = "tar file" if source.kind == TAR else f"{source.kind} file" if source.kind == GZIP else "zip"
    try:
        yield
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise FerKitError(f"{source.name}: damaged or unreadable {kind} ({error}); {_AGAIN}") from None
        raise FerKitError(f"{source.name}: cannot be read ({error.strerror or error})") from None
    except _FAULTS as error:
        if source.kind == PLAIN:
            raise
        raise FerKitError(f"{source.name}: damaged or unreadable {kind} ({error}); {_AGAIN}") from None
