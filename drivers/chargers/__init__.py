"""One file a charger dialect: topics and payloads, encoded and decoded, no IO inside."""
