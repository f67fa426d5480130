"""How a checkpoint's files become a module's weights, on whatever devices there are, or are read without one."""
