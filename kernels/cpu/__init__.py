"""Native kernels for the CPU, behind ``jax.ffi``; `native` is their Python side."""
