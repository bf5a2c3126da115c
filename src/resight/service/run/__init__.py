"""The run folder, and RUN: whatever a command takes as a network with its record."""
