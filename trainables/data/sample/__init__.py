"""The bundled data set: real motion, simulated bodies and cameras."""
