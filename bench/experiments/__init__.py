"""What measures and decides: the only room with a schedule, a clock of its own and a budget."""
