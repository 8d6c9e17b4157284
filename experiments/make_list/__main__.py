r"""Lists videos with their classes and splits in videos.csv, which the other scripts read.

Of videos in folders train/<class>/, val/<class>/ and test/<class>/:

  python -m experiments.make_list --videos=FOLDER

From annotation files, as they are published with the data sets:

  python -m experiments.make_list --format=kinetics --videos=FOLDER \
      --annotations=train.csv,validate.csv
  python -m experiments.make_list --format=ssv2 --videos=FOLDER \
      --annotations=train.json,validation.json --label_map=labels.json
  python -m experiments.make_list --format=hmdb51 --videos=FOLDER \
      --annotations=testTrainMulti_7030_splits --fold=1
  python -m experiments.make_list --format=ucf101 --videos=FOLDER \
      --annotations=ucfTrainTestlist --fold=1
  python -m experiments.make_list --format=msad --videos=FOLDER \
      --annotations=anomaly_annotation.csv,MSAD_I3D_WS_Train.list,MSAD_I3D_WS_Test.list

Videos are found by their names, at any depth below FOLDER, whatever they have been converted to.
Those that are not there are named and left out. The list has the columns path,label,split, of MSAD
also frames,labels (which frames are anomalous), sorted by split, label and path, so that the same
videos give the same file on every machine. Paths are relative to the folder of the list.
"""

from experiments.make_list.job import main

if __name__ == "__main__":
    main(__doc__)
