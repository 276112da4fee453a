"""Pure computation: tables in, tables out. No Dagster, no files, no clock, no environment."""
