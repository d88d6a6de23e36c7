"""Where a mask lives, and how an attribution becomes one."""
