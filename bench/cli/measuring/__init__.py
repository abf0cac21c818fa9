"""What the verbs that measure share: the life of a file, the machines, the plan, the blocks of a gate."""
