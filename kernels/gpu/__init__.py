"""Pallas kernels for GPUs; `tempalign.kernels.gpu.launch` alone names a backend of Pallas."""
