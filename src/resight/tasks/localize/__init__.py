"""One object of each picture: its class and its box."""
