"""How fast, on this machine: engines, contenders, the timing protocol, memory, latency plans; the only clock."""
