"""The GPU fast path of tempalign, installed as ``tempalign.kernels`` and nowhere else."""
