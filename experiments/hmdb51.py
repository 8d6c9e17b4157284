"""DejaVid on HMDB51: learned temporal matching, paper and ablations.

The paper's setting, on a folder of your own embedding sequences:

  python -m experiments.hmdb51 --flagfile=experiments/flags/hmdb51.txt --data_dir=FOLDER

Go on after a kill, in the same output folder:

  python -m experiments.hmdb51 --flagfile=experiments/flags/hmdb51.txt --data_dir=FOLDER --resume

The same job on real data that comes with this repository, in under three minutes on two cores:

  python -m experiments.hmdb51 --flagfile=experiments/flags/demo.txt

Classify a new sequence with what was learned:

  python -m experiments.hmdb51 --out_dir=runs/hmdb51 --predict=FILE.npy

Steps per second of training on random data of this data set's shapes:

  python -m experiments.hmdb51 --synthetic=hmdb51
"""

from experiments.dejavid.job import main

if __name__ == "__main__":
    main(__doc__)
