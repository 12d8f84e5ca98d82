"""What growth costs: a simulation of one machine and of a fleet, calibrated by measured service times."""
