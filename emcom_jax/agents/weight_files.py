"""Files of weights that others trained: .safetensors, .npz, and torch's .pth without torch.

A .pth is a zip of raw arrays and a pickle that says how they make tensors. A pickle can name any
function and have it called; this reader knows the few names that tensors need, gives stand-ins of
its own for them, and refuses a file that asks for more. Nothing of the file is ever run.
"""

import json
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from emcom_jax.tables import look_up

# Where programs put the weights in a file that holds more; looked for in this order.
NESTS = ('state_dict', 'model_state_dict', 'model')

SAFETENSORS = {
    'F64': np.float64,
    'F32': np.float32,
    'F16': np.float16,
    'BF16': ml_dtypes.bfloat16,
    'I64': np.int64,
    'I32': np.int32,
    'I16': np.int16,
    'I8': np.int8,
    'U8': np.uint8,
    'BOOL': np.bool_,
}
STORAGES = {
    'DoubleStorage': np.float64,
    'FloatStorage': np.float32,
    'HalfStorage': np.float16,
    'BFloat16Storage': ml_dtypes.bfloat16,
    'LongStorage': np.int64,
    'IntStorage': np.int32,
    'ShortStorage': np.int16,
    'CharStorage': np.int8,
    'ByteStorage': np.uint8,
    'BoolStorage': np.bool_,
}


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Reads a file of named tensors; runs nothing that is in it.

    path: a .safetensors, .npz, .pth, .pt or .tar file (the last three as `torch.save` writes them
        since torch 1.6). Of a dict that holds the weights under 'state_dict', 'model_state_dict' or
        'model' beside other things, that entry is read.

    Returns name -> array [...], in the order of the file, perhaps read-only; bfloat16 as float32.
    Raises OSError if there is no such file, ValueError with one sentence if it is of another kind,
    damaged, or wants code to be run.
    """
    path = Path(path)
    read = look_up(READERS, path.suffix, f'kind of weights in {path}, by its suffix')
    with path.open('rb') as file:
        try:
            return read(file)
        except _Refused as error:
            raise ValueError(f'{path} {error}') from None
        except Exception as error:  # Of a damaged file a parser can fail in any way.
            raise ValueError(f'{path} is damaged ({error!r}): get it again') from None


class _Refused(Exception):
    """Why a file is not read, as the end of a sentence that begins with its path."""


def _read_npz(file: BinaryIO) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as arrays:
        tensors = {name: arrays[name] for name in arrays.files}
    for name, tensor in tensors.items():
        if tensor.dtype.kind not in 'biuf':
            raise _Refused(f'has {name!r} of dtype {tensor.dtype}: save it as float32')
    return tensors


# --- safetensors ----------------------------------------------------------------------------------


def _read_safetensors(file: BinaryIO) -> dict[str, np.ndarray]:
    """Eight bytes with the length of a JSON header, the header, and the arrays in one block."""
    data = memoryview(file.read())
    start = 8 + int.from_bytes(data[:8], 'little')
    header = json.loads(bytes(data[8:start]))
    header.pop('__metadata__', None)
    return {name: _tensor(data[start:], name, **entry) for name, entry in header.items()}


def _tensor(
    block: memoryview, name: str, dtype: str, shape: list[int], data_offsets: list[int]
) -> np.ndarray:
    if dtype not in SAFETENSORS:
        raise _Refused(f'has {name!r} of type {dtype}: save it as one of {", ".join(SAFETENSORS)}')
    start, end = data_offsets
    return _widened(np.frombuffer(block[start:end], SAFETENSORS[dtype]).reshape(shape))


# --- torch ----------------------------------------------------------------------------------------


def _read_torch(file: BinaryIO) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(file):
        raise _Refused(
            'is in the format from before torch 1.6, or not of torch: convert it where torch is, '
            'with torch.save(torch.load(path, weights_only=True), new_path)'
        )
    with zipfile.ZipFile(file) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith('/data.pkl'))
        folder = pickled.removesuffix('data.pkl')
        if folder + 'byteorder' in archive.namelist():
            if archive.read(folder + 'byteorder') != b'little':
                raise _Refused('has its bytes in big-endian order: save it on another machine')
        with archive.open(pickled) as stream:
            content = _Unpickler(stream, archive, folder).load()
    found = content if isinstance(content, dict) else {}
    nested = (found[key] for key in NESTS if isinstance(found.get(key), dict))
    items = next(nested, found).items()
    tensors = {str(name): tensor for name, tensor in items if isinstance(tensor, np.ndarray)}
    if not tensors:
        raise _Refused(f'has no tensors at the top, nor under {", ".join(NESTS)}')
    return tensors


class _Unpickler(pickle._Unpickler):
    """Calls nothing but what is in this file; arrays are read from the archive where asked for.

    The unpickler in Python, for the one in C takes any amount of memory that a damaged pickle asks
    for (its memo is an array as long as the largest index).
    """

    def __init__(self, stream: Any, archive: zipfile.ZipFile, folder: str):
        super().__init__(stream)
        self._archive, self._folder = archive, folder
        self._storages: dict[str, _Storage] = {}  # Tensors may share one.

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _STAND_INS:
            return _STAND_INS[module, name]()
        if module == 'torch' and name in STORAGES:
            return name
        raise _Refused(
            f'wants {module}.{name}, which is no tensor and is not run: save the state_dict alone'
        )

    def persistent_load(self, pid: Any) -> '_Storage':
        """The array behind ('storage', its type, its file, the device it was on, its length)."""
        _, kind, key, _, length = pid
        if key not in self._storages:
            entry = self._archive.getinfo(f'{self._folder}data/{key}')
            dtype = np.dtype(STORAGES[kind])
            # torch does not compress; a compressed entry could unpack to any size.
            if not entry.compress_size == entry.file_size == length * dtype.itemsize:
                raise ValueError(f'{entry.filename} is not of {length} {dtype}')
            array = np.frombuffer(self._archive.read(entry), dtype)
            self._storages[key] = _Storage(_widened(array))
        return self._storages[key]


# These are in the hands of whoever wrote the pickle, who may also set attributes of them and call
# `__setstate__`: hence nothing here has attributes to set, unlike functions, dtypes, OrderedDicts.


class _Dict(dict):
    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        """Takes no attributes: torch's state_dicts have versions of modules there."""


class _Storage(NamedTuple):
    """An array [n] of a file of its own: not a view, whose memory may end before its elements."""

    array: np.ndarray


class _Tensor:
    """torch._utils._rebuild_tensor_v2: a view of a storage."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> np.ndarray:
        """offset, strides: in elements; a stride may be 0 (of an expanded tensor)."""
        if not isinstance(storage, _Storage):
            raise ValueError('a tensor has no storage')
        array = storage.array
        # As Python's integers, which do not overflow in the check.
        offset, shape, strides = int(offset), tuple(map(int, shape)), tuple(map(int, strides))
        last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
        # What lies outside of the storage is other memory of this process.
        inside = math.prod(shape) == 0 or last < array.size
        if min((offset, *shape, *strides)) < 0 or not inside:
            raise ValueError(f'a tensor {shape} with strides {strides} is not in its storage')
        strides = [array.itemsize * step for step in strides]
        return np.lib.stride_tricks.as_strided(array[offset:], shape, strides, writeable=False)


class _Parameter:
    """torch._utils._rebuild_parameter: a tensor that learns."""

    __slots__ = ()

    def __call__(self, tensor: np.ndarray, *_: Any) -> np.ndarray:
        return tensor


_STAND_INS = {
    ('collections', 'OrderedDict'): lambda: _Dict,
    ('torch._utils', '_rebuild_tensor_v2'): _Tensor,
    ('torch._utils', '_rebuild_parameter'): _Parameter,
}

READERS = {
    '.safetensors': _read_safetensors,
    '.npz': _read_npz,
    '.pth': _read_torch,
    '.pt': _read_torch,
    '.tar': _read_torch,  # As in .pth.tar.
}


def _widened(array: np.ndarray) -> np.ndarray:
    """bfloat16 as float32, which holds each of its values; NumPy has no bfloat16 of its own."""
    return array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array
