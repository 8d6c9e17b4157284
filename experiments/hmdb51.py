"""DejaVid on HMDB51: learned temporal matching, paper and ablations.

The paper's setting (experiments/flags/hmdb51.txt, where no other flagfile is named), on a folder of
your own embedding sequences:

  python -m experiments.hmdb51 --data_dir=FOLDER

Go on after a kill, or with more seeds, methods, baselines or epochs, in the same output folder:

  python -m experiments.hmdb51 --data_dir=FOLDER --resume

Classify a new sequence with what was learned, all of a folder, or those of a CSV file:

  python -m experiments.hmdb51 --predict=FILE.npy

The same job on real data that comes with this repository, in under three minutes on two cores:

  python -m experiments.hmdb51 --flagfile=experiments/flags/demo.txt

Steps per second of training on random data of this data set's shapes:

  python -m experiments.hmdb51 --synthetic=hmdb51
"""

if __name__ == "__main__":
    # Here, since the processes that decode videos import this file too, and need nothing of it.
    from experiments.dejavid.job import main

    main(__doc__, "hmdb51")
