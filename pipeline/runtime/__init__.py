"""The runtime: wires sources to the engine, checkpoints, runs cases. It may read files and clocks; it decides nothing."""
