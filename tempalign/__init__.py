"""Differentiable temporal alignment in JAX.

The functions here are pure and compose with ``jit``, ``vmap``, ``grad`` and ``shard_map``.
``tempalign.heads`` (Flax NNX modules) and ``tempalign.plot`` (pictures) are imported by name.
"""

from tempalign._align import Matches as Matches
from tempalign._align import align as align
from tempalign._align import subsequence_matches as subsequence_matches
from tempalign._align import warp as warp
from tempalign._barycenter import dba as dba
from tempalign._dtw import Path as Path
from tempalign._dtw import dtw as dtw
from tempalign._dtw import dtw_alignment as dtw_alignment
from tempalign._dtw import dtw_alignment_from_cost as dtw_alignment_from_cost
from tempalign._dtw import dtw_from_cost as dtw_from_cost
from tempalign._dtw import dtw_path as dtw_path
from tempalign._engine.backends import explain as explain
from tempalign._engine.evaluate import Alignment as Alignment
from tempalign._ragged import Padded as Padded
from tempalign._ragged import Selected as Selected
from tempalign._ragged import pad as pad
from tempalign._ragged import select_frames as select_frames
from tempalign._ragged import unpad as unpad
from tempalign._resample import resample as resample
from tempalign._seq import SeqLoss as SeqLoss
from tempalign._seq import seq_loss as seq_loss
from tempalign._seq import smoothness as smoothness
from tempalign._series import Barycenter as Barycenter
from tempalign._soft_barycenter import soft_dtw_barycenter as soft_dtw_barycenter
from tempalign._soft_dtw import soft_dtw as soft_dtw
from tempalign._soft_dtw import soft_dtw_alignment as soft_dtw_alignment
from tempalign._soft_dtw import soft_dtw_alignment_from_cost as soft_dtw_alignment_from_cost
from tempalign._soft_dtw import soft_dtw_divergence as soft_dtw_divergence
from tempalign._soft_dtw import soft_dtw_from_cost as soft_dtw_from_cost
from tempalign._tam import tam_alignment as tam_alignment
from tempalign._tam import tam_alignment_from_cost as tam_alignment_from_cost
from tempalign._tam import tam_distance as tam_distance
from tempalign._tam import tam_distance_from_cost as tam_distance_from_cost
from tempalign._time_layer import time_layer as time_layer
from tempalign._version import __version__ as __version__
from tempalign._weighted_dtw import weighted_dtw as weighted_dtw

__all__ = [
    "Alignment",
    "Barycenter",
    "Matches",
    "Padded",
    "Path",
    "Selected",
    "SeqLoss",
    "__version__",
    "align",
    "dba",
    "dtw",
    "dtw_alignment",
    "dtw_alignment_from_cost",
    "dtw_from_cost",
    "dtw_path",
    "explain",
    "pad",
    "resample",
    "select_frames",
    "seq_loss",
    "smoothness",
    "soft_dtw",
    "soft_dtw_alignment",
    "soft_dtw_alignment_from_cost",
    "soft_dtw_barycenter",
    "soft_dtw_divergence",
    "soft_dtw_from_cost",
    "subsequence_matches",
    "tam_alignment",
    "tam_alignment_from_cost",
    "tam_distance",
    "tam_distance_from_cost",
    "time_layer",
    "unpad",
    "warp",
    "weighted_dtw",
]
