"""What the commands share: exit codes, interrupts, the entry through Hydra."""
