"""Training of the paper's network: losses added one at a time, samplers, schedules and the loop."""
