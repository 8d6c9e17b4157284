r"""SEQ on video anomaly detection: a score for every frame, by a classifier of single frames.

The paper's setting, on a folder of your own features, such as those of MSAD:

  python -m experiments.seq_anomaly --data_dir=FOLDER \
      --flagfile=experiments/flags/seq_anomaly_msad.txt

FOLDER holds index.csv, with the columns id,path,split,labels, and one .npy [T, F] of features a
video: a row a frame, or a row every 16 frames (--protocol=snippet). labels is a .npy of 0 and 1 for
every frame, or the anomalous frames as start-end;start-end, or normal, or all.

Go on after a kill, in the same output folder:

  python -m experiments.seq_anomaly --flagfile=... --data_dir=FOLDER --resume

The same job on the data that comes with this repository, in about two minutes on two cores. The
surveillance video is real, its anomalies are not: they are planted in it.

  python -m experiments.seq_anomaly --flagfile=experiments/flags/seq_anomaly_demo.txt

Score the frames of a new file of features, of a folder of them, or of those in a CSV file:

  python -m experiments.seq_anomaly --out_dir=runs/seq_anomaly --predict=FILE.npy

What is compared, over the same seeds: "baseline", cross-entropy of frames drawn one by one;
"trajectory", cross-entropy of frames along windows that are played at varied speed, with features
interpolated between rows (the paper's linear trajectory of augmentation parameters, whose one
parameter here is time); "seq", the same windows with the alignment to the exemplars of both
classes and smoothness; and that without either term.
"""

from experiments.seq_anomaly.job import main

if __name__ == "__main__":
    main(__doc__)
