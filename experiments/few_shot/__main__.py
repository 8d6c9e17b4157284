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

From the videos themselves, with a trunk that is trained through the alignment as in the paper:

  python -m experiments.few_shot --flagfile=experiments/flags/few_shot_frames.txt \
      --videos=videos.csv --class_splits=FILE.csv

videos.csv has the columns path,label,split (python -m experiments.make_list makes it). Without
--class_splits its column split says what is trained and tested on, if no class has two splits.

New videos, classified by a few labelled ones, whose classes may be any:

  python -m experiments.few_shot --out_dir=runs/few_shot_frames --predict=NEW.mp4 \
      --predict_support=FOLDER

FOLDER holds a folder of videos for each class. Printed are the classes and the distances to them;
a picture shows how the frames are aligned. A run on features of experiments.extract_tse takes
videos too, every run on features .npy files.
"""

from experiments.few_shot.job import main

if __name__ == "__main__":
    main(__doc__)
