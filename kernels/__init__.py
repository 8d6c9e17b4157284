"""Fast paths (`cpu`: C++ behind jax.ffi; `gpu`: Pallas) and the benchmark (`bench`)."""
