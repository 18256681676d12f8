"""Network: hospitals that answer a coordinator, over an engine that only passes messages on."""
