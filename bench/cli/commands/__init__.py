"""The verbs: each module reads as the plan of one of them. Nothing imports a verb."""
