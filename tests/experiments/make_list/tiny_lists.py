"""Annotation files by hand, in the form in which they are published, and videos for them."""

import csv
import json
from pathlib import Path

from experiments.make_list.settings import Settings

KINETICS = {
    # Kinetics-400 has the column is_cc, Kinetics-700 says validate.
    "train.csv": 'label,youtube_id,time_start,time_end,split,is_cc\n"air drumming",-3B32lodO2M,59,'
    "69,train,0\nabseiling,_dbcJuKJQNs,4,14,train,0\n",
    "validate.csv": "label,youtube_id,time_start,time_end,split\nabseiling,---QUuC4vJs,84,94,"
    "validate\nabseiling,lost0000000,0,10,validate\n",
}
SSV2 = {
    "something-something-v2-train.json": [
        {
            "id": "78687",
            "label": "holding potato next to vicks vaporub bottle",
            "template": "Holding [something] next to [something]",
            "placeholders": ["potato", "vicks vaporub bottle"],
        },
        {
            "id": "42326",
            "label": "holding a pen next to a cup",
            "template": "Holding [something] next to [something]",
            "placeholders": ["a pen", "a cup"],
        },
    ],
    "something-something-v2-validation.json": [
        {
            "id": "74225",
            "label": "opening a door",
            "template": "Opening [something]",
            "placeholders": ["a door"],
        }
    ],
    "something-something-v2-labels.json": {
        "Holding something next to something": "50",
        "Opening something": "80",
    },
}
HMDB51 = {
    "brush_hair_test_split1.txt": "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 \n"
    "Brushing_Her_Hair__[_NEW_AUDIO_]_UPDATED!!!!_brush_hair_h_cm_np1_le_goo_0.avi 2 \n",
    "climb_stairs_test_split1.txt": "(a) b_climb_stairs_f_cm_np1_ba_med_0.avi 1 \n"
    "unused_climb_stairs_f_cm_np1_ba_med_0.avi 0 \n",
    "climb_stairs_test_split2.txt": "(a) b_climb_stairs_f_cm_np1_ba_med_0.avi 2 \n"
    "unused_climb_stairs_f_cm_np1_ba_med_0.avi 1 \n",
}
UCF101 = {  # with the line ends of the published files
    "classInd.txt": "1 ApplyEyeMakeup\r\n38 HandstandPushups\r\n",
    "trainlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\n"
    "HandstandPushups/v_HandStandPushups_g08_c01.avi 38\r\n",
    "testlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\r\n",
    "trainlist02.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi 1\r\n",
    "testlist02.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi\r\n",
}
MSAD = {
    "anomaly_annotation.csv": "name,scenario,total frames,starting frame of anomaly,ending frame of"
    " anomaly\nAssault_1,shop,426,55,426\nWater_incident_2,road,300,1,40\n"
    "Water_incident_2,road,300,101,120\n",
    "MSAD_I3D_WS_Train.list": "/scratch/x/MSAD-I3D-training/Assault_1_i3d.npy\n"
    "/scratch/x/MSAD-I3D-training/MSAD_normal_frontdoor1_i3d.npy\n",
    "MSAD_I3D_WS_Test.list": "/scratch/x/MSAD-I3D-abnormal-testing/Water_incident_2_i3d.npy\n"
    "/scratch/x/MSAD-I3D-normal-testing/MSAD_normal_testing_1_i3d.npy",
}


def write(folder: Path, files: dict) -> Path:
    """Writes annotation files; returns their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_bytes(text.encode())
    return folder


def videos(folder: Path, *names: str) -> Path:
    """Makes empty files; returns their folder. A list needs no more of them than their names."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    folder.mkdir(exist_ok=True)
    return folder


def settings(folder: Path, *annotations: Path, **changes) -> Settings:
    given = {"videos": str(folder), "annotations": tuple(map(str, annotations)), **changes}
    return Settings(**given)


def rows(path: Path) -> list[tuple[str, ...]]:
    """Returns the rows of a list, the header first."""
    with open(path, encoding="utf-8", newline="") as file:
        return [tuple(row) for row in csv.reader(file)]
