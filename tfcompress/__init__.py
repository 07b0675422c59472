"""Compress Keras models into .tflite files that are really smaller, really faster, and proven so."""
