"""Options that most verbs take."""

from pathlib import Path
from typing import Annotated, Optional

import typer

HomeOption = Annotated[
    Optional[Path], typer.Option("--home", help="Data folder; left out: $SMART_MAINTENANCE_HOME, else .smart-maintenance in the checkout.")
]
PlantOption = Annotated[
    Optional[Path],
    typer.Option(
        "--plant", help="Folder of plant files, one <site>.yaml each (left out: $SMART_MAINTENANCE_PLANT, else the demonstration plant)."
    ),
]
