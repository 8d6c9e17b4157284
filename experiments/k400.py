"""DejaVid on Kinetics-400: learned temporal matching, paper and ablations.

The paper's setting, on a folder of your own embedding sequences:

  python -m experiments.k400 --flagfile=experiments/flags/k400.txt --data_dir=FOLDER

Go on after a kill, in the same output folder:

  python -m experiments.k400 --flagfile=experiments/flags/k400.txt --data_dir=FOLDER --resume

The same job on real data that comes with this repository, in under three minutes on two cores:

  python -m experiments.k400 --flagfile=experiments/flags/demo.txt

Classify a new sequence with what was learned:

  python -m experiments.k400 --out_dir=runs/k400 --predict=FILE.npy

Steps per second of training on random data of this data set's shapes:

  python -m experiments.k400 --synthetic=k400
"""

from experiments.dejavid.job import main

if __name__ == "__main__":
    main(__doc__)
