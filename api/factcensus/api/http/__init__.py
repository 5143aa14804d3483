"""HTTP itself: connections, bodies, keys, origins, parameters, problem details, metrics and logs."""
