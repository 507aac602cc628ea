"""The front door: DICOM in, acknowledged only when it is safe."""
