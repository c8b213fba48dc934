"""What ``dawnchorus download birdclef-2025`` brings: the competition's recordings and more of its species."""

from pathlib import Path

# The main table of the published repository, in its folder data. It names the recordists of the additional
# folders; without it they are not known.
MAIN_TABLE = (
    "data/train_and_prev_comps_extendedv1_pruneSL_XConly2025_snipet28032025_hdf5_fixedaudiometa_h5pyDur.csv"
)
OF_MAIN_TABLE = (
    {"recordings": MAIN_TABLE, "root_column": "data_root_id"} if Path(MAIN_TABLE).is_file() else {}
)

# One faulty row or file stops nothing: it is left out and listed. What the additional folders repeat of the
# competition's recordings is left out too, by the numbers in the file names.
CONFIG = {
    "data": [
        {
            "audio_dir": "data/train_audio",
            "recordings": "data/train.csv",
            "features_dir": "data/train_features",
            "faulty": "leave_out",
        },
        {
            "audio_dir": "data/add_train_audio_from_prev_comps",
            "features_dir": "data/add_train_features_from_prev_comps",
            **OF_MAIN_TABLE,
            "faulty": "leave_out",
        },
        {
            "audio_dir": "data/add_train_audio_from_xeno_canto_28032025",
            "features_dir": "data/add_train_features_from_xeno_canto_28032025",
            **OF_MAIN_TABLE,
            "faulty": "leave_out",
        },
    ],
    "labels": "data/taxonomy.csv",
    "folds": {"every_class_in_training": True},
}
