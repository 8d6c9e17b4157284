r"""Few-shot classification of videos by temporal alignment (TAM, CVPR 2020).

An encoder is trained end to end through the alignment, on classes that are not tested on; the
report compares six ways of matching (Table 2 of the paper) beside an order-blind baseline, over
10,000 episodes, and the temperature of the soft minimum (Fig. 5).

On real data that comes with this repository, in about three minutes on two cores:

  python -m experiments.few_shot --flagfile=experiments/flags/few_shot_demo.txt

The paper's protocol on frozen embedding sequences of your own, here Kinetics:

  python -m experiments.few_shot --flagfile=experiments/flags/few_shot_kinetics.txt \
      --data_dir=FOLDER --class_splits=FILE.csv

FOLDER holds index.csv (columns id,path,label,split) and one .npy [T, F] a video; FILE.csv has the
columns class,split, with split train, val or test (CMN's 64, 12 and 24 classes, say). Go on after
a kill with --resume; a finished job may be given more seeds, matchings, temperatures or epochs.

New videos, classified by a few labelled ones, whose classes may be any:

  python -m experiments.few_shot --out_dir=runs/few_shot_kinetics --predict=NEW.npy \
      --predict_support=FOLDER

FOLDER holds a folder of .npy files for each class.
"""

from experiments.few_shot.job import main

if __name__ == "__main__":
    main(__doc__)
