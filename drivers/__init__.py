"""The outside world: Modbus meters, MQTT chargers, brokers. Devices are tables of data."""
