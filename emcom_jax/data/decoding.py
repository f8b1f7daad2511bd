"""Pictures in files of any kind -> square RGB arrays, decoded when they are looked at."""

import contextlib
import dataclasses
import functools
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any, BinaryIO, Protocol

import numpy as np
from PIL import Image, ImageOps

# Pillow recognises a file by its content, whatever its name. Of its formats these are pictures; the
# others are seldom meant, and one of them (EPS) would start another program.
_FORMATS = ('JPEG', 'PNG', 'GIF', 'BMP', 'WEBP', 'TIFF', 'PPM')
_OPAQUE = ('1', 'L', 'P', 'RGB', 'CMYK', 'YCbCr')
_TRANSPARENT = ('LA', 'PA', 'RGBA', 'RGBa')
_DEEP = ('I;16', 'I;16L', 'I;16B')
_THREADS = 16  # More than cores: much of the time is waiting for a disk or a network.
_BLOCK = 4096  # Images that are waited for at a time.
_TRIES = 16  # Others that are tried in the place of an image that cannot be decoded.


class BadImage(ValueError):
    """An image that cannot be decoded; the message says why, in a part of a sentence."""


class Store(Protocol):
    """Encoded images, by number."""

    def read(self, index: int) -> bytes:
        """Returns the content of an image file."""
        ...

    def name(self, index: int) -> str:
        """Returns what a user can find the image by."""
        ...


@dataclasses.dataclass(frozen=True)
class Files:
    """A store of image files: `names` [N] bytes, paths below `folder`."""

    folder: str
    names: np.ndarray

    def read(self, index: int) -> bytes:
        with open(self.name(index), 'rb') as file:
            return file.read()

    def name(self, index: int) -> str:
        return os.path.join(self.folder, os.fsdecode(self.names[index]))


# --- one image ------------------------------------------------------------------------------------


def decode(content: bytes, size: int) -> np.ndarray:
    """Decodes an image: its shorter side resized to `size`, then cropped in the centre.

    Resizing is antialiased (a triangle filter as wide as the reduction, torchvision's default). The
    orientation that the EXIF data of a photograph tell is applied. Greyscale, palette and CMYK
    become RGB; transparent images are laid on white; of 16 bits the upper 8 are kept; of an
    animation the first picture is.

    Args:
      content: of the image file.
      size: S, pixels.

    Returns:
      [S, S, 3] uint8.

    Raises:
      BadImage: it is damaged, larger than Pillow's limit (`PIL.Image.MAX_IMAGE_PIXELS`, a guard
        against files that expand to fill the memory), or of a kind that has no meaning as RGB.
    """
    with _opened(io.BytesIO(content)) as image:
        # A JPEG is decoded at the smallest of its scales that is at least twice what is needed.
        image.draft(None, (2 * size, 2 * size))
        return np.asarray(fit(_upright_rgb(image), size))


def fault(file: BinaryIO, whole: bool) -> str:
    """Returns why the image in a file cannot be decoded, or '' if nothing is found.

    whole: decode all of it; else only its header is read, which is fast.
    """
    try:
        if whole:
            decode(file.read(), 1)
        else:
            with _opened(file):
                pass
    except BadImage as error:
        return str(error)
    return ''


def fit(image: Image.Image, size: int) -> Image.Image:
    """Resizes the central square of an image to `size` x `size` pixels, antialiased."""
    side = min(image.size)
    left, top = ((length - side) / 2 for length in image.size)
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BILINEAR, box)


@contextlib.contextmanager
def _opened(file: BinaryIO) -> Iterator[Image.Image]:
    """Opens an image and turns whatever is wrong with it, then and later, into a BadImage."""
    limit = Image.MAX_IMAGE_PIXELS or sys.maxsize
    large = f'it has more than {limit:,} pixels'
    try:
        with Image.open(file, formats=_FORMATS) as image:
            if image.width * image.height > limit:
                raise BadImage(large)
            if image.mode not in (*_OPAQUE, *_TRANSPARENT, *_DEEP):
                raise BadImage(f"it is of the kind '{image.mode}', which has no meaning as RGB")
            yield image
    except BadImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImage(large) from None
    except Image.UnidentifiedImageError:
        empty = not file.seek(0, os.SEEK_END)
        what = 'it is empty' if empty else f'it is none of {", ".join(_FORMATS)}'
        raise BadImage(what) from None
    except Exception as error:  # Whichever decoder trips over the damaged file.
        raise BadImage(f'it is damaged ({_first_line(error)})') from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    with contextlib.suppress(Exception):  # Damaged EXIF data do not make a picture unreadable.
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode in _DEEP:
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in _TRANSPARENT or 'transparency' in image.info:
        image = image.convert('RGBA')
        white = Image.new('RGBA', image.size, 'white')
        image = Image.alpha_composite(white, image)
    return image.convert('RGB')


# --- many -----------------------------------------------------------------------------------------


class Images:
    """An array [N, S, S, 3] uint8 whose images are decoded when they are looked at.

    An image that turns out to be damaged is replaced by the next decodable one of the same labels,
    always the same one, and said so once; `replaced` counts them. With `refuse` it is an error.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self, store: Store, rows: np.ndarray, groups: np.ndarray, size: int, *, refuse: bool = False
    ):
        """Args:
        store: of encoded images.
        rows: int [N], which of the store.
        groups: int [N], equal for images that can stand for each other (of the same labels).
        size: S, pixels.
        refuse: whether an image that cannot be decoded is an error.
        """
        self._store, self._rows, self._groups = store, np.asarray(rows), np.asarray(groups)
        self._size, self._refuse = size, refuse
        self._replaced: dict[int, int] = {}

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self._rows), self._size, self._size, 3)

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded array."""
        return int(np.prod(self.shape))

    @property
    def replaced(self) -> int:
        """Number of images that could not be decoded, of those looked at."""
        return len(self._replaced)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Decodes the images at an int -> [S, S, 3], a slice or int [n] -> [n, S, S, 3]."""
        chosen = np.arange(len(self))[rows]
        images = np.empty((*chosen.shape, *self.shape[1:]), np.uint8)
        for place in np.ndindex(chosen.shape):
            images[place] = self._look(int(chosen[place]))
        return images

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Decodes all of them, in threads, under a progress bar."""
        if copy is False:
            raise ValueError('images that are decoded on demand cannot be seen without a copy.')
        images = np.empty(self.shape, np.uint8)
        for row, image in enumerate(in_threads(self._look, range(len(self)), 'decoding images')):
            images[row] = image
        return images.astype(dtype or np.uint8, copy=False)

    def take(self, rows: np.ndarray) -> 'Images':
        """Returns the images at `rows` int [n], as lazily."""
        return Images(
            self._store, self._rows[rows], self._groups[rows], self._size, refuse=self._refuse
        )

    def fetch(self, row: int) -> tuple[np.ndarray, int]:
        """Decodes one image [S, S, 3]; returns with it the row that it is really of.

        Raises:
          BadImage: it cannot be decoded and is not to be replaced, or no other can be decoded.
        """
        wrong = None
        for shown in (row, *self._others(row)):
            try:
                content = self._store.read(int(self._rows[shown]))
                return decode(content, self._size), shown
            except OSError as error:  # It was there when the data were loaded.
                wrong = wrong or f'cannot be read ({error.strerror})'
            except BadImage as error:
                wrong = wrong or f'cannot be decoded: {error}'
        name = self._store.name(int(self._rows[row]))
        hint = (
            '' if self._refuse else f', nor can any of {_TRIES} others; are the data still there?'
        )
        raise BadImage(f'{name} {wrong}{hint}')

    def note(self, row: int, shown: int) -> None:
        """Counts an image that was replaced, and says so once."""
        if shown != row and row not in self._replaced:
            self._replaced[row] = shown
            names = (self._store.name(int(self._rows[i])) for i in (row, shown))
            say('{} cannot be decoded; {} is shown in its place'.format(*names))

    def _look(self, row: int) -> np.ndarray:
        image, shown = self.fetch(row)
        self.note(row, shown)
        return image

    def _others(self, row: int) -> Iterator[int]:
        """The rows that may stand for a row, those of the same labels first."""
        if self._refuse:
            return
        same = np.flatnonzero(self._groups == self._groups[row])
        after = np.roll(same, -1 - int(np.searchsorted(same, row)))[:-1][:_TRIES]
        yield from map(int, after)
        following = (np.arange(_TRIES - len(after)) + row + 1) % len(self)
        yield from (int(other) for other in following if other != row)


def in_threads(
    function: Callable[[Any], Any], arguments: Sequence[Any], what: str
) -> Iterator[Any]:
    """Yields `function` of each argument, in order, from threads and under a progress bar.

    Pillow decodes, and files are waited for, without holding up other threads.
    """
    import tqdm

    with (
        futures.ThreadPoolExecutor(_THREADS) as pool,
        tqdm.tqdm(total=len(arguments), desc=what, leave=False) as progress,
    ):
        for start in range(0, len(arguments), _BLOCK):  # All at once would fill the memory.
            for result in pool.map(function, arguments[start : start + _BLOCK]):
                progress.update()
                yield result


@functools.cache
def say(sentence: str) -> None:
    """Prints a sentence to stderr, once in a process."""
    print(sentence, file=sys.stderr)
