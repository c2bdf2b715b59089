"""Files that are mapped, whatever their size."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_dsvae.data.files.mapped import mapped
from pyro_dsvae.inference.memory import physical_memory


def test_what_is_written_to_the_tensor_stays_out_of_the_file(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32)
    (tmp_path / "a").write_bytes(b"head" + values.tobytes())
    found = mapped(tmp_path / "a", np.float32, (2, 3, 4), offset=4)
    assert torch.equal(found, torch.from_numpy(values).view(2, 3, 4))
    found[1] = -1
    assert (mapped(tmp_path / "a", np.float32, (2, 3, 4), offset=4) >= 0).all()


def test_a_file_ten_times_as_large_as_memory_is_mapped(tmp_path: Path) -> None:
    """It has a hole instead of most of its bytes."""
    rows = int(10 * physical_memory()) >> 20
    with (tmp_path / "a").open("wb") as file:
        try:
            file.truncate((rows - 1) << 20)
        except OSError as error:
            pytest.skip(f"no file of this size can be made here: {error}")
        file.seek((rows - 1) << 20)
        file.write(bytes([7]) * (1 << 20))
    found = mapped(tmp_path / "a", np.uint8, (rows, 1 << 20))
    assert (found[-1] == 7).all()
    assert found[rows // 2, 5] == 0
