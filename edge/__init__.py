"""The controller that stands at the transformer: ports, configuration, the tick loop, journal."""
