"""The classes of ESC-50's clips, which their names hold: ``1-100032-A-0.wav`` is class 0, a dog.

Source: K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from dawnchorus.files import replacing

CATEGORIES = (
    # Animals, ...
    *("dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow"),
    # ... nature and water, ...
    *("rain", "sea_waves", "crackling_fire", "crickets", "chirping_birds", "water_drops", "wind"),
    *("pouring_water", "toilet_flush", "thunderstorm"),
    # ... people, ...
    *("crying_baby", "sneezing", "clapping", "breathing", "coughing", "footsteps", "laughing"),
    *("brushing_teeth", "snoring", "drinking_sipping"),
    # ... indoors, ...
    *("door_wood_knock", "mouse_click", "keyboard_typing", "door_wood_creaks", "can_opening"),
    *("washing_machine", "vacuum_cleaner", "clock_alarm", "clock_tick", "glass_breaking"),
    # ... and outdoors.
    *("helicopter", "chainsaw", "siren", "car_horn", "engine", "train", "church_bells", "airplane"),
    *("fireworks", "hand_saw"),
)
"""The classes in the order of their numbers."""

_NAME = re.compile(r"^\d+-\d+-[A-Z]-(\d+)\.\w+$")


def write_esc50_table(folder: Path, path: Path) -> int:
    """Write the CSV table ``filename``, ``category`` of the clips in a folder, and return how many there are.

    Files with names of another form are left out.

    Examples
    --------
    >>> from pathlib import Path
    >>> Path("audio").mkdir()
    >>> Path("audio/1-17367-A-10.wav").touch()
    >>> write_esc50_table(Path("audio"), Path("esc50.csv"))
    1
    >>> print(Path("esc50.csv").read_text())
    filename,category
    1-17367-A-10.wav,rain
    """
    found = [(file.name, _NAME.match(file.name)) for file in sorted(folder.iterdir())]
    rows = [
        (name, CATEGORIES[int(match[1])])
        for name, match in found
        if match is not None and int(match[1]) < len(CATEGORIES)
    ]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("filename", "category"), *rows])
    return len(rows)
