"""Runs an installed wheel outside the checkout; argument: the wheel."""

import pathlib
import sys
import zipfile

import jax
import numpy as np

import tempalign
from tempalign import heads
from tempalign.kernels import specs

names = zipfile.ZipFile(sys.argv[1]).namelist()
tops = {name.split("/")[0] for name in names}
assert tops == {"tempalign", f"tempalign-{tempalign.__version__}.dist-info"}, tops
assert "tempalign/kernels/specs.py" in names and "tempalign/py.typed" in names
assert any(name.endswith("licenses/LICENSE") for name in names)
assert "site-packages" in pathlib.Path(tempalign.__file__).parts, tempalign.__file__

x = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
distance = jax.jit(tempalign.weighted_dtw)(x[:, None], x)
assert distance.shape == (2, 2) and np.all(np.isfinite(distance))
assert heads.DejaVidHead(3, 4, 3)(x).shape == (2, 3)
assert specs.K400.num_classes == 400
print(f"tempalign {tempalign.__version__} runs from its wheel on jax {jax.__version__}")
