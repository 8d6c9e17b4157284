"""Runs an installed wheel outside the checkout; arguments: the wheel, "native" or "plain".

"native": the wheel has the compiled kernels, and calls take them. "plain": it was built where there
was no compiler; it says so, and XLA computes the same.
"""

import pathlib
import sys
import zipfile

import jax
import numpy as np

import tempalign
from tempalign import heads
from tempalign.kernels.gpu import specs

wheel, kind = pathlib.Path(sys.argv[1]), sys.argv[2]
names = zipfile.ZipFile(wheel).namelist()
tops = {name.split("/")[0] for name in names}
assert tops == {"tempalign", f"tempalign-{tempalign.__version__}.dist-info"}, tops
assert "tempalign/kernels/gpu/specs.py" in names and "tempalign/py.typed" in names
assert "tempalign/kernels/cpu/level.cpp" in names and "tempalign/kernels/cpu/lanes.h" in names
assert "tempalign/kernels/bench/peaks.cpp" in names
assert any(name.endswith("licenses/LICENSE") for name in names)
assert "site-packages" in pathlib.Path(tempalign.__file__).parts, tempalign.__file__

x = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
distance = jax.jit(tempalign.weighted_dtw)(x[:, None], x)
assert distance.shape == (2, 2) and np.all(np.isfinite(distance))
assert heads.DejaVidHead(3, 4, 3)(x).shape == (2, 3)
assert specs.K400.num_classes == 400

said = tempalign.explain(tempalign.dtw, x[0], x[1])
tag = "-".join(wheel.stem.split("-")[2:])
if kind == "native":
    assert tag.startswith("py3-none-linux_"), wheel
    assert "tempalign/kernels/cpu/_native.so" in names
    assert said.startswith("dtw runs on native"), said
else:
    assert tag == "py3-none-any" and not any(name.endswith(".so") for name in names), wheel
    assert said.startswith("dtw runs on xla") and "it was not built" in said, said
got, expected = (tempalign.dtw(x[0], x[1], implementation=one) for one in (None, "xla"))
np.testing.assert_allclose(got, expected, rtol=1e-5)
print(f"tempalign {tempalign.__version__} runs from its wheel on jax {jax.__version__}: {said}")
