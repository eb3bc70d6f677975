"""The rig: plant, emulated meter and chargers, lockstep clock, verdicts."""
