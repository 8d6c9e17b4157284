"""Differentiable temporal alignment in JAX.

The functions here are pure and compose with ``jit``, ``vmap``, ``grad`` and ``shard_map``.
``tempalign.heads`` (Flax NNX modules) and ``tempalign.plot`` (pictures) are imported by name.
"""

from tempalign._barycenter import dba as dba
from tempalign._dispatch import explain as explain
from tempalign._dtw import dtw as dtw
from tempalign._dtw import dtw_alignment as dtw_alignment
from tempalign._dtw import dtw_from_cost as dtw_from_cost
from tempalign._seq import seq_loss as seq_loss
from tempalign._seq import smoothness as smoothness
from tempalign._soft_barycenter import soft_dtw_barycenter as soft_dtw_barycenter
from tempalign._soft_dtw import soft_dtw as soft_dtw
from tempalign._soft_dtw import soft_dtw_alignment as soft_dtw_alignment
from tempalign._soft_dtw import soft_dtw_divergence as soft_dtw_divergence
from tempalign._soft_dtw import soft_dtw_from_cost as soft_dtw_from_cost
from tempalign._tam import tam_distance as tam_distance
from tempalign._tam import tam_distance_from_cost as tam_distance_from_cost
from tempalign._time_layer import time_layer as time_layer
from tempalign._tse import resample as resample
from tempalign._version import __version__ as __version__
from tempalign._weighted_dtw import weighted_dtw as weighted_dtw

__all__ = [
    "__version__",
    "dba",
    "dtw",
    "dtw_alignment",
    "dtw_from_cost",
    "explain",
    "resample",
    "seq_loss",
    "smoothness",
    "soft_dtw",
    "soft_dtw_alignment",
    "soft_dtw_barycenter",
    "soft_dtw_divergence",
    "soft_dtw_from_cost",
    "tam_distance",
    "tam_distance_from_cost",
    "time_layer",
    "weighted_dtw",
]
