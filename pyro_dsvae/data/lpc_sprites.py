"""Sprites (Li & Mandt, ICML 2018): Liberated Pixel Cup characters, composed from their sprite sheets."""

import hashlib
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pyro_dsvae.data.dataset import SPLITS, DataSource, Label, SequenceData
from pyro_dsvae.data.files.cache import cache_folder
from pyro_dsvae.data.files.download import fetch
from pyro_dsvae.data.files.mapped import mapped
from pyro_dsvae.inference.files import replacing
from pyro_dsvae.models.errors import UsageError

_log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]

CREDITS = (
    "Sprite art by the Liberated Pixel Cup / Universal LPC authors (Stephen Challener, Johannes Sjölund, "
    "Shaun Williams, Thane Brimhall, Manuel Riecke, Joe White, David Conway Jr., Marcel van de Steeg, Mark Weyer, "
    "JaidynReiman and others), CC-BY-SA 3.0 or GPL 3.0; selection by Yingzhen Li and Stephan Mandt"
)
CLASSES: dict[str, tuple[str, ...]] = {
    "body": ("light", "tanned", "dark elf", "dark elf 2", "dark", "dark 2"),
    "bottomwear": ("white pants", "golden greaves", "red pants", "metal greaves", "teal pants", "formal pants"),
    "topwear": (
        "maroon long-sleeve",
        "teal long-sleeve",
        "white long-sleeve",
        "plate",
        "leather",
        "white shirt with tie",
    ),
    "hair": ("messy green", "long topknot blue", "messy light blonde", "bangs white", "plain ruby red", "afro purple"),
}
ACTIONS = tuple(f"{action} {view}" for action in ("walk", "spell", "slash") for view in ("front", "left", "right"))

CHARACTERS, FRAMES, CELL = 1296, 8, 64
SHEET_SIZE = (832, 1344)  # width, height: 13 x 21 cells
# Sheet row of each action label, and the sheet columns of frames 0..7 of walk, spell and slash.
_ROWS = (10, 9, 11, 2, 1, 3, 14, 13, 15)
_COLUMNS = ((8, 1, 2, 3, 4, 5, 6, 7), (0, 1, 2, 3, 4, 5, 4, 6), (0, 1, 2, 3, 4, 5, 4, 0))

_BASE_URL = "https://raw.githubusercontent.com/YingzhenLi/Sprites/3ce4048c5227802bd8f1888e293fd3afdba91c0c/"
_CACHE_VERSION = "1"  # raise it when composition or the layout of the cache file changes

SHA256: dict[str, str] = {
    "body/0.png": "27d1ac78db37c42f35a20d15c42705efc5e58d47c236cc01423879d4f797f151",
    "body/1.png": "1535e9228357b884df80f777a0d1dac10ac35e550e4d8d077105ccad014a1460",
    "body/2.png": "7c241033b4897501cb3721b6c3a9ebfa94b13db10a539edbd9bcc3e0c2a4bcb9",
    "body/3.png": "055f5aa33fc112d8444b42fce2cf50608a9fbbf2466c54ceaa46c777589a717a",
    "body/4.png": "57f3b9c510482379aba9a32fc0de7d48e9cbe3dc40f2447283547f773b77ca72",
    "body/5.png": "91e49453aeab5ebbb4fd2b48253812895dcfb4cb1829b84e24425c66de8f04ff",
    "bottomwear/0.png": "4ec356c488e272fde2d2d0d722b12a80217871e41161d43ba784caf243969ec2",
    "bottomwear/1.png": "0674312eaa4ab548f8bb31ef95d7dbd46b41555758cec51bd6c3e9fac9a0f936",
    "bottomwear/2.png": "3b464feb0d20ff34b0ca2a6d1fd00766ad86e2229c3d56ff91379fe27588a893",
    "bottomwear/3.png": "b366e84ea0519d06cf693f51e0ee2f9ac32b3132d27c75dfdc4b6f52fca072de",
    "bottomwear/4.png": "4ed7e7702e4f50b9692c0043be04b7296a108d85ea97230fb50d13c150d98771",
    "bottomwear/5.png": "a5c5e7e33f13fe5ad37b5836a5a74fb0d2094a0877c2146961b88688ff85840d",
    "hair/0.png": "e4007b0635a239ad16cdebfe90759349ccc73dfc6836c9d19625714be185f43d",
    "hair/1.png": "fa6369f84d3310705df6d8ca8c9d515a7d211e73d2826c50a9cb5bb285652c66",
    "hair/2.png": "1b8046752be7233e829ebe9b11048e171d8d181ee6f68e07042b34f57bb8af0d",
    "hair/3.png": "333783285c5fd94ff434ae5000d2da39aac7940269f173119eaa70d34c8acfa1",
    "hair/4.png": "24df8e9b291cbd444f6c4d12d35b3d43d909cd13f04e6401e0fd8ab10216d5a2",
    "hair/5.png": "4dd471cc20e0b1cf71adcaab01c88598767e5cfe680adacdf560ca91574f17ae",
    "shoes/1.png": "d56a561616a20a12030d2d40a52eeec63e6d048871bf3b6994221869362151f1",
    "topwear/0.png": "b917edcf2b3c35d51ef57a6fad67557c5edf048785bea29db09a640d09ac9a90",
    "topwear/1.png": "e33c6cb31ed1268a2c0dc73b665b1c9b9420e22baf3321880222bdb22682368b",
    "topwear/2.png": "2b9b8fefa08894b7ea536cd62b86d494aefe6e54495c5c1d83460827b13b6448",
    "topwear/3.png": "807f5b628592f6747e2814be9435963069dba6c360577168c02f57bbe903433d",
    "topwear/4.png": "b51b17878503877e179ce4f9231713bf2b2d2d666c3ec9ee29f4e784469867a2",
    "topwear/5.png": "1b6049d43f83ebfda857cc405d1936ac9fd80be480fa6ad239024a6a75ad0372",
}


class LPCSprites(DataSource):
    """The Sprites benchmark: 1296 characters x 9 actions x 8 frames, frames (11664, 8, 3, size, size) uint8.

    Sequence ``character * 9 + action``; character = body*216 + bottomwear*36 + topwear*6 + hair. Labels: "action"
    (dynamic, 9 classes), "body", "bottomwear", "topwear", "hair" (static, 6 classes each). The split is the
    literature's, by character: 296 unseen characters are "test"; of its 1000 others the last 100 are "validation".

    The art: Stephen Challener (Redshrike), Johannes Sjölund (wulax), Shaun Williams, Matthew Krohn, Thane Brimhall,
    Manuel Riecke (MrBeast), Joe White, David Conway Jr. (JaidynReiman), Marcel van de Steeg, Mark Weyer and the other
    Liberated Pixel Cup and Universal LPC authors; CC-BY-SA 3.0 or GPL 3.0. Whoever passes on frames made from it has
    to name them and keep the licence. The selection is Yingzhen Li's and Stephan Mandt's.

    Args:
        root: Folder with body/, bottomwear/, topwear/, hair/ (0.png … 5.png each) and shoes/1.png; where None,
            pyro_dsvae/lpc below the user's cache directory.
        size: Height and width of a frame: 64, or 32 or 16 by mean pooling (halves round up).
        download: Fetch the sheets that are missing or damaged in root from the data set's public repository.
        cache: Keep the composed frames in the user's cache directory (1.1 GB at 64 pixels).

    Example:
        >>> from pyro_dsvae import LPCSprites
        >>> from pyro_dsvae.data.lpc_sprites import character_split
        >>> data = LPCSprites(size=32, download=True).load()  # doctest: +SKIP
        >>> (character_split() == 2).sum()  # characters of the test split
        tensor(296)
    """

    def __init__(self, root: str | None = None, size: int = 64, download: bool = False, cache: bool = True) -> None:
        if size not in (16, 32, 64):
            raise UsageError(f"size = {size}; LPC sprites come in 64, 32 or 16 pixels")
        self.root = cache_folder() / "lpc" if root is None else Path(root).expanduser()
        self.size = size
        self.download = download
        self.cache = cache

    def load(self) -> SequenceData:
        """Frames (11664, 8, 3, size, size), split (11664,) and five labels (11664,)."""
        if self.download:
            _download(self.root)
        sheets = {name: _read_sheet(self.root, name) for name in SHA256}
        frames = self._frames(sheets)
        characters = torch.arange(CHARACTERS)
        labels = {"action": Label(torch.arange(len(ACTIONS)).repeat(CHARACTERS), ACTIONS, "dynamic")}
        for place, (name, classes) in zip((216, 36, 6, 1), CLASSES.items(), strict=True):
            values = (characters // place % 6).repeat_interleave(len(ACTIONS))
            labels[name] = Label(values, classes, "static")
        return SequenceData(frames, character_split().repeat_interleave(len(ACTIONS)), labels=labels)

    def _frames(self, sheets: dict[str, bytes]) -> Tensor:
        """Composed frames (11664, 8, 3, size, size), from the cache file where there is a sound one."""
        if self.cache:
            key = hashlib.sha256(_CACHE_VERSION.encode())
            for name, data in sheets.items():
                key.update(name.encode() + hashlib.sha256(data).digest())
            path = cache_folder() / "composed" / f"lpc-{self.size}-{key.hexdigest()[:16]}.npy"
            frames = _read_cache(path, self.size)
            if frames is None and _write_cache(path, self.size, compose(sheets, self.size)):
                frames = _map(path, self.size)
            if frames is not None:
                return frames
        array = np.empty(_shape(self.size), np.uint8)
        for i, block in enumerate(compose(sheets, self.size)):
            array[i * len(ACTIONS) : (i + 1) * len(ACTIONS)] = block
        return torch.from_numpy(array)


def character_split() -> Tensor:
    """(1296,) uint8, index into `SPLITS` per character: positions 0..899, 900..999 and 1000.. of one permutation."""
    order = np.random.RandomState(423).permutation(CHARACTERS)
    split = torch.empty(CHARACTERS, dtype=torch.uint8)
    bounds = {"train": (0, 900), "validation": (900, 1000), "test": (1000, CHARACTERS)}
    for i, name in enumerate(SPLITS):
        start, stop = bounds[name]
        split[torch.from_numpy(order[start:stop])] = i
    return split


def _download(root: Path) -> None:
    """Bring every sheet into root, one after the other; those already there and sound are left alone."""
    _log.info("Fetching the LPC sprite sheets into %s. %s.", root, CREDITS)
    for name, digest in SHA256.items():
        fetch(_BASE_URL + name, root / name, digest)


def _read_sheet(root: Path, name: str) -> bytes:
    """The PNG bytes of one verified sheet."""
    path = root / name
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"{path} is missing; point root at the folder of LPC sheets or fetch them with --data.download true"
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != SHA256[name]:
        raise UsageError(f"{path} {_defect(data)}; fetch it anew with --data.download true")
    return data


def _defect(data: bytes) -> str:
    """What is wrong with a sheet whose digest is not the known one."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.size != SHEET_SIZE:
                return f"is {image.size[0]} x {image.size[1]} pixels, not {SHEET_SIZE[0]} x {SHEET_SIZE[1]}"
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return "is damaged: it cannot be read as an image"
    return "is not the art of the Sprites data set (its SHA-256 differs)"


class _Layer(NamedTuple):
    """The visible values of one sheet: where they are in a character (9, 8, 3, 64, 64), and what they blend to."""

    place: NDArray[np.intp]  # (K,) flat
    colour: NDArray[np.int32]  # (K,) 128 * colour * alpha
    keep: NDArray[np.int32]  # (K,) 128 * (255 - alpha)

    def paint(self, below: Pixels) -> Pixels:
        """Alpha-over on an opaque character (9, 8, 3, 64, 64), rounding as PIL's ``alpha_composite`` does."""
        out = below.copy()
        flat = out.reshape(-1)
        mixed = self.colour + flat[self.place] * self.keep + (128 << 7)
        flat[self.place] = ((mixed >> 8) + mixed >> 8) >> 7  # divides by 255, then by 128
        return out


def _layer(png: bytes) -> _Layer:
    with Image.open(io.BytesIO(png)) as image:
        sheet = np.asarray(image.convert("RGBA"))
    cells = sheet.reshape(21, CELL, 13, CELL, 4).transpose(0, 2, 4, 1, 3)
    used = cells[np.array(_ROWS)[:, None], np.repeat(_COLUMNS, 3, axis=0)]  # (9, 8, 4, 64, 64)
    alpha = np.broadcast_to(used[:, :, 3:], used[:, :, :3].shape).reshape(-1).astype(np.int32)
    place = alpha.nonzero()[0]
    alpha = alpha[place]
    colour = used[:, :, :3].reshape(-1)[place].astype(np.int32)
    return _Layer(place, colour * alpha * 128, (255 - alpha) * 128)


def compose(sheets: dict[str, bytes], size: int) -> Iterator[Pixels]:
    """The 1296 characters in order, each (9, 8, 3, size, size): actions, frames, RGB, height, width."""
    body, bottomwear, topwear, hair = ([_layer(sheets[f"{part}/{i}.png"]) for i in range(6)] for part in CLASSES)
    shoes = _layer(sheets["shoes/1.png"])
    black = np.zeros((len(ACTIONS), FRAMES, 3, CELL, CELL), np.uint8)
    # Lower layers are painted once for all characters that share them.
    for skin in body:
        naked = skin.paint(black)
        for trousers in bottomwear:
            half = trousers.paint(naked)
            for shirt in topwear:
                dressed = shirt.paint(half)
                for cut in hair:
                    yield _pool(shoes.paint(cut.paint(dressed)), size)


def _pool(frames: Pixels, size: int) -> Pixels:
    """Mean of each k x k square, halves rounded up: (…, 64, 64) to (…, size, size), k = 64 / size."""
    k = CELL // size
    if k == 1:
        return frames
    total = np.full((*frames.shape[:-2], size, size), k * k // 2, np.uint16)
    for i in range(k * k):
        total += frames[..., i // k :: k, i % k :: k]
    return (total // (k * k)).astype(np.uint8)


def _shape(size: int) -> tuple[int, ...]:
    return (CHARACTERS * len(ACTIONS), FRAMES, 3, size, size)


def _header(size: int) -> bytes:
    """The first bytes of the cache file: those of an ordinary .npy file."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": _shape(size)})
    return buffer.getvalue()


def _map(path: Path, size: int) -> Tensor:
    """The frames of a cache file without reading them; writing to the tensor leaves the file as it is."""
    return mapped(path, np.uint8, _shape(size), len(_header(size)))


def _read_cache(path: Path, size: int) -> Tensor | None:
    """The frames of a sound cache file, or None. A sound file is header, frames and the SHA-256 of both."""
    try:
        with path.open("rb") as file:
            left = len(_header(size)) + int(np.prod(_shape(size)))
            if os.fstat(file.fileno()).st_size != left + 32:
                return None
            digest = hashlib.sha256()
            while left and (chunk := file.read(min(left, 1 << 20))):
                digest.update(chunk)
                left -= len(chunk)
            return _map(path, size) if file.read() == digest.digest() else None
    except OSError:
        return None


def _write_cache(path: Path, size: int, blocks: Iterator[Pixels]) -> bool:
    """Write header, frames and digest; False where the folder cannot take it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, shared=True) as part, part.open("wb") as file:
            file.write(_header(size))
            digest = hashlib.sha256(_header(size))
            for block in blocks:
                file.write(block.data)
                digest.update(block.data)
            file.write(digest.digest())
    except OSError as error:
        _log.warning("composed sprites are not cached in %s: %s", path.parent, error.strerror or error)
        return False
    return True
