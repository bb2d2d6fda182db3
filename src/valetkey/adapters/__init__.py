"""The world: the only modules that open sockets, processes, databases or clocks."""
