"""Flax NNX heads: what stands on a frozen encoder, or in front of a spatial one."""

from tempalign.heads._dejavid import DejaVidHead as DejaVidHead
from tempalign.heads._dejavid import PathCopy as PathCopy
from tempalign.heads._few_shot import FewShotHead as FewShotHead
from tempalign.heads._few_shot import Temperature as Temperature
from tempalign.heads._seq import SeqClassifier as SeqClassifier
from tempalign.heads._time import TimeClassifier as TimeClassifier

__all__ = [
    "DejaVidHead",
    "FewShotHead",
    "PathCopy",
    "SeqClassifier",
    "Temperature",
    "TimeClassifier",
]
