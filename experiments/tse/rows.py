"""All samples of a folder with the split of each, and the data set that they make."""

from typing import NamedTuple

import numpy as np

from experiments.shared.csv_index import evaluated_split
from experiments.shared.labels import lonely_classes
from experiments.tse.dataset import TseDataset, TseSplit


class Rows(NamedTuple):
    """Every sample of a folder, whatever its split.

    Attributes:
        samples: in the order of the table.
        class_names: by label.
        splits: of each sample, "train", "val" or "test".
        note: what a report must say on how the sequences are read; or empty.
        table: the file that names the splits, for the note of a data set.
    """

    samples: TseSplit
    class_names: tuple[str, ...]
    splits: tuple[str, ...]
    note: str
    table: str

    def to_dataset(self, name: str) -> TseDataset:
        """Divides the samples into the splits of a data set, in the order of the table.

        Raises:
            UserError: they do not make one, see `TseDataset`.
        """
        splits = np.array(self.splits)
        samples = self.samples

        def split(name: str) -> TseSplit:
            chosen = np.flatnonzero(splits == name)
            source = samples.source.take(chosen.tolist())
            ids = tuple(samples.ids[i] for i in chosen)
            return TseSplit(ids, samples.labels[chosen], source.lengths, source)

        test_name = evaluated_split(self.splits)
        val = split("val") if test_name == "test" and "val" in self.splits else None
        train = split("train")
        notes = [f"evaluated on the rows of {self.table} with split '{test_name}'", self.note]
        if val is not None:
            notes[0] += "; those with split 'val' are what the best epoch is picked on"
        return TseDataset(
            name=name,
            train=train,
            test=split(test_name),
            class_names=self.class_names,
            num_features=samples.source.num_features,
            note="; ".join(filter(None, [*notes, lonely_classes(train.labels, self.class_names)])),
            val=val,
        )
