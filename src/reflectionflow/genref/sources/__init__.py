"""The four sources of GenRef: each turns a number of wanted pairs and a seed into pairs (ReflectionFlow section 4)."""
