"""DejaVid on Kinetics-400: learned temporal matching, paper and ablations.

The paper's setting (experiments/flags/k400.txt, where no other flagfile is named), on a folder of
your own embedding sequences:

  python -m experiments.k400 --data_dir=FOLDER

Go on after a kill, or with more seeds, methods, baselines or epochs, in the same output folder:

  python -m experiments.k400 --data_dir=FOLDER --resume

Classify a new sequence with what was learned, all of a folder, or those of a CSV file:

  python -m experiments.k400 --predict=FILE.npy

The same of videos, where experiments.extract_tse made the training data: a picture shows which
moments of the video each step of the winning centroid found, and of the runner-up:

  python -m experiments.k400 --predict=clip.mp4

The same job on real data that comes with this repository, in under three minutes on two cores:

  python -m experiments.k400 --flagfile=experiments/flags/demo.txt

Steps per second of training on random data of this data set's shapes:

  python -m experiments.k400 --synthetic=k400
"""

if __name__ == "__main__":
    # Here, since the processes that decode videos import this file too, and need nothing of it.
    from experiments.dejavid.job import main

    main(__doc__, "k400")
