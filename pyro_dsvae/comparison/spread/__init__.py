"""The fits of a comparison done by other processes: on the devices of this machine, or by the workers of a cluster."""
