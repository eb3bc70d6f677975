"""The bench: emulated devices, scenarios, tests."""
