"""What ``python -m tempalign.kernels.benchmark`` is made of."""
