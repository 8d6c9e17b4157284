r"""Puts the sequences of a data set into few files, takes them out again, verifies and measures.

A folder with index.csv and a file for each video becomes a store, which experiments.k400 and the
others read as they read that folder, by --data_dir, with the same results bit for bit:

  python -m experiments.make_store --data_dir=FOLDER --out_dir=STORE
  python -m experiments.make_store --layout=dejavid --data_dir=FOLDER --out_dir=STORE

And back, into a folder with index.csv:

  python -m experiments.make_store --to=index --data_dir=STORE --out_dir=FOLDER

Whether every record of a store is what was written (damaged, missing and exchanged ones are named):

  python -m experiments.make_store --verify --data_dir=STORE

How fast batches are read of any such folder, or of random data of Kinetics-400's shape where none
is named:

  python -m experiments.make_store --benchmark --processes=1,2 --data_dir=STORE

--out_dir appears whole or not at all. A store that was interrupted is gone on with by the same
command: shards that are finished are kept.
"""

from experiments.make_store.job import main

if __name__ == "__main__":
    main(__doc__)
