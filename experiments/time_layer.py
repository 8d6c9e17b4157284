"""TIME layer: grids of frames let a classifier of images see time. Accuracy by N and arrangement.

On your own videos, a folder with videos.csv (columns path,label,split):

  python -m experiments.time_layer --flagfile=experiments/flags/time_layer.txt --data_dir=FOLDER

Go on after a kill, in the same output folder, by the same command and --resume.

Which way did the camera move? Synthetic moves over the real frames that come with this repository,
a few minutes on two cores:

  python -m experiments.time_layer --flagfile=experiments/flags/time_layer_demo.txt
"""

from experiments.grids.job import main

if __name__ == "__main__":
    main(__doc__)
