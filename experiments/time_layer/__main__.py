r"""TIME layer: grids of frames let a classifier of images see time. Accuracy by N and arrangement.

On your own videos, a folder with videos.csv (columns path,label,split):

  python -m experiments.time_layer --flagfile=experiments/flags/time_layer.txt --data_dir=FOLDER

The same through a MobileNetV2 that is trained on, a ResNet-50 or ViT-B/16 with weights from a local
file, or a module of your own:

  python -m experiments.time_layer --flagfile=experiments/flags/time_layer_mobilenet.txt \
      --data_dir=FOLDER [--model=resnet50 --weights=resnet50.pth | --model=MODULE:FACTORY]

On measured depth, grey videos of 16 bits or folders of numbered PNGs, in the units of the files:

  python -m experiments.time_layer --flagfile=experiments/flags/time_layer.txt \
      --data_dir=FOLDER --input=depth --depth_range=500,4500

Go on after a kill, or add seeds, grids or epochs, in the same output folder, by the same command
and --resume.

Which way did the camera move? Synthetic moves over the real frames that come with this repository,
about 8 minutes on two cores:

  python -m experiments.time_layer --flagfile=experiments/flags/time_layer_demo.txt

Classify new videos with what was learned, a file, a folder or a CSV file with a column path (after
training on depth also a folder of numbered PNGs):

  python -m experiments.time_layer --out_dir=runs/time_layer --predict=FILE.mp4
"""

from experiments.time_layer.job import main

if __name__ == "__main__":
    main(__doc__)
