"""Where depth comes from: files, the sensor, or a network."""
