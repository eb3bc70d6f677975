"""The pure core: control law, guard, the charger's lease. MicroPython subset, integers, no IO, no clock."""
