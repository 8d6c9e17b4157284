"""Names for the types that the public functions share."""

from collections.abc import Callable, Sequence
from typing import Literal

import jax
from jax.typing import ArrayLike

Array = jax.Array

#: A named way to compute a function; see :func:`tempalign.explain`.
ImplementationName = Literal["xla", "native", "pallas", "pallas_interpret"]

#: ``None`` picks the best for the platform; a sequence is tried in order.
Implementation = ImplementationName | Sequence[ImplementationName] | None

#: A named local cost, or a function ``(x [n, F], y [m, F]) -> [n, m]``.
CostName = Literal["sqeuclidean", "euclidean", "manhattan", "cosine"]
Cost = CostName | Callable[[Array, Array], Array]

__all__ = ["Array", "ArrayLike", "Cost", "CostName", "Implementation", "ImplementationName"]
