"""Reports: queries over stored data, charts, rendering."""
