"""Settings of three systems in, the options of each room out. Only wiring and the ways in read them."""
