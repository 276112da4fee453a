"""The plant as a resource of the code location."""

from pathlib import Path

import dagster as dg

from ml.plant import Site
from resources.plant_files import PlantError, read_plant


class PlantResource(dg.ConfigurableResource):
    """The sites described in a folder of plant files."""

    folder: str

    def sites(self) -> tuple[Site, ...]:
        return read_plant(Path(self.folder))

    def site(self, site_id: str) -> Site:
        for site in self.sites():
            if site.site == site_id:
                return site
        raise PlantError(f"No plant file describes the site {site_id!r}; there is none named {site_id}.yaml in {self.folder}.")
