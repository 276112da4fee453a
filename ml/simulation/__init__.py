"""The parts of the plant simulator: faults, machines and gateway; `ml.simulator` puts them together."""
